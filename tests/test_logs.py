"""What is logged, and how often."""

import pytest

from liveman import logs


def test_what_others_can_cause_is_told_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each event, whatever its values are; another instance tells for itself."""
    log = logs.get_logger("liveman.test")
    one, other = logs.Seldom(log), logs.Seldom(log)
    for number in range(3):
        one.warning("somebody knocks", number=number)
        one.warning("somebody rings")
    other.warning("somebody knocks", number=9)
    assert caplog.messages == ["somebody knocks number=0", "somebody rings", "somebody knocks number=9"]
    monkeypatch.setattr(logs, "SELDOM_SECONDS", 0.0)
    one.warning("somebody rings")
    assert caplog.messages[3:] == ["somebody rings"]
