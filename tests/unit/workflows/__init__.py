"""The workflows of GitHub Actions."""
