"""The report: one page of what was proved and measured."""
