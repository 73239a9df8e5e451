"""The manifest as players read it."""

from xml.etree import ElementTree

from liveman.demo.cutting import Frame, Segment
from liveman.demo.manifest import Track, manifest

DASH = "{urn:mpeg:dash:schema:mpd:2011}"
BEGAN, NOW = "2026-11-21T10:00:00.000Z", "2026-11-21T10:00:04.000Z"

VIDEO = Track("video", "webm", "vp8", 90_000, 320, 240, durations=(180_000, 180_000, 90_000), size=50_000)
AUDIO = Track("audio", "mp4", "opus", 48_000, start=480, durations=(96_000,), size=1000)


def timeline(track: Track) -> list[dict[str, str]]:
    root = ElementTree.fromstring(manifest([track], began=BEGAN, now=NOW, ended=True))
    return [each.attrib for each in root.iter(f"{DASH}S")]


def test_one_that_has_ended_says_how_long_it_is() -> None:
    root = ElementTree.fromstring(manifest([VIDEO, AUDIO], began=BEGAN, now=NOW, ended=True))
    assert (root.get("type"), root.get("mediaPresentationDuration")) == ("static", "PT5.000S")
    assert root.get("availabilityStartTime") is None
    assert [each.get("contentType") for each in root.iter(f"{DASH}AdaptationSet")] == ["video", "audio"]


def test_one_that_grows_says_when_it_began_and_when_to_ask_again() -> None:
    root = ElementTree.fromstring(manifest([VIDEO], began=BEGAN, now=NOW, ended=False))
    assert (root.get("type"), root.get("mediaPresentationDuration")) == ("dynamic", None)
    assert (root.get("availabilityStartTime"), root.get("minimumUpdatePeriod")) == (BEGAN, "PT2S")


def test_a_track_is_described() -> None:
    root = ElementTree.fromstring(manifest([VIDEO, AUDIO], began=BEGAN, now=NOW, ended=True))
    video, audio = [each.attrib for each in root.iter(f"{DASH}Representation")]
    assert video == {
        "id": "v",
        "mimeType": "video/webm",
        "codecs": "vp8",
        "bandwidth": "80000",
        "width": "320",
        "height": "240",
    }
    assert audio == {
        "id": "a",
        "mimeType": "audio/mp4",
        "codecs": "opus",
        "bandwidth": "4000",
        "audioSamplingRate": "48000",
    }


def test_equal_segments_are_told_once() -> None:
    """So that the manifest of a day stays small."""
    assert timeline(VIDEO) == [{"t": "0", "d": "180000", "r": "1"}, {"d": "90000", "r": "0"}]
    assert timeline(AUDIO) == [{"t": "480", "d": "96000", "r": "0"}]


def test_files_have_the_names_that_real_nodes_give_them() -> None:
    assert (VIDEO.init_name, AUDIO.init_name) == ("v_init.m4s", "a_init.m4s")
    assert [VIDEO.segment_name(n) for n in (1, 12_345)] == ["v_seg_0001.m4s", "v_seg_12345.m4s"]
    root = ElementTree.fromstring(manifest([AUDIO], began=BEGAN, now=NOW, ended=True))
    (template,) = root.iter(f"{DASH}SegmentTemplate")
    assert (template.get("initialization"), template.get("media")) == ("a_init.m4s", "a_seg_$Number%04d$.m4s")


def test_a_track_grows_by_segments() -> None:
    """The first one says where it begins."""
    track = Track("audio", "mp4", "opus", 48_000)
    for number, (start, end) in enumerate([(480, 96_480), (96_480, 100_000)], 1):
        track = track.with_segment(Segment(number, end, (Frame(start, b"x", True),)), size=10)
    assert (track.start, track.durations, track.end, track.size) == (480, (96_000, 3520), 100_000, 20)
