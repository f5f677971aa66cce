"""Two releases at once: they share work instead of doing it twice."""

from pathlib import Path

import pytest

from tests.integration.small import release as small

pytestmark = [
    pytest.mark.env,
    pytest.mark.slow,  # real steps in the image environments
    pytest.mark.timeout(300),
]


def at_once(root: Path, *versions: str) -> list[small.Report]:
    """Run one release for each of ``versions`` on one store, all at once."""
    started = [small.start(root, version) for version in versions]
    reports = []
    for process in started:
        printed, error = process.communicate()
        assert process.returncode == 0, error
        reports.append(small.parse(printed))
    return reports


@pytest.fixture
def fresh(tmp_path: Path, quantize_python: Path) -> Path:
    small.prepare(tmp_path)
    return tmp_path


def test_the_same_release_twice_at_once_builds_each_step_once(
    fresh: Path, small_release: small.Finished
) -> None:
    reports = at_once(fresh, "1.0.0", "1.0.0")
    built = [step for report in reports for step in report.built]
    assert sorted(built) == sorted(small_release.report.trees), "a step was built twice, or not at all"
    assert sorted(report.state for report in reports) == ["already", "published"]
    assert {str(report.digests) for report in reports} == {str(small_release.report.digests)}
    assert any(report.waited for report in reports), "nobody waited: they did not run at once"


def test_two_versions_at_once_share_what_is_the_same(fresh: Path) -> None:
    reports = at_once(fresh, "1.0.0", "1.1.0")
    built = [step for report in reports for step in report.built]
    own = {"assemble-master", "assemble-nvfp4"}
    assert [step for step in built if step not in own] == [
        step for step in dict.fromkeys(built) if step not in own
    ]
    assert all(own <= set(report.built) for report in reports)
    assert [report.state for report in reports] == ["published", "published"]
