"""What people paste into other programs to use a token. Pages fill in the words in braces.

| word | is |
|---|---|
| ``{whip}``, ``{whep}`` | the address to publish to, to watch from |
| ``{publish}``, ``{watch}`` | the page that does it, with the token in the fragment |
| ``{token}`` | the token |

Addresses and tokens hold nothing that a shell, HTML or JavaScript would read otherwise between double quotes.
"""

from typing import Literal

from attrs import frozen

__all__ = ["SNIPPETS", "Field", "Snippet"]


@frozen
class Field:
    """One text to copy."""

    label: str
    """What it goes into, as that program names it."""
    text: str


@frozen
class Snippet:
    """All for one program."""

    name: str
    """Of its element in the page."""
    title: str
    needs: Literal["publish", "watch"]
    note: str
    fields: tuple[Field, ...]


#: https://obsproject.com/kb/whip-streaming-guide
_OBS = Snippet(
    "obs",
    "OBS Studio",
    "publish",
    "OBS 30 or newer: Settings, Stream.",
    (Field("Service", "WHIP"), Field("Server", "{whip}"), Field("Bearer Token", "{token}")),
)

#: libavformat/whip.c: it writes "Bearer" itself, takes H.264 without B-frames and Opus, and no other codec.
_FFMPEG = Snippet(
    "ffmpeg",
    "FFmpeg",
    "publish",
    "FFmpeg 8 or newer with the muxer whip. input.mp4 stands for any input.",
    (
        Field(
            "Command",
            """\
ffmpeg -re -i input.mp4 \\
  -c:v libx264 -profile:v baseline -tune zerolatency -bf 0 -g 60 -pix_fmt yuv420p \\
  -c:a libopus -ar 48000 -ac 2 \\
  -f whip -authorization "{token}" "{whip}\"""",
        ),
    ),
)

#: gst-plugins-rs, net/webrtc: the properties of the signaller's child object.
_GST_PUBLISH = Snippet(
    "gstreamer-publish",
    "GStreamer",
    "publish",
    "GStreamer 1.24 or newer with the plugin rswebrtc of gst-plugins-rs.",
    (
        Field(
            "Command",
            """\
gst-launch-1.0 -e videotestsrc is-live=true ! videoconvert ! queue ! \\
  whipclientsink signaller::whip-endpoint="{whip}" signaller::auth-token="{token}\"""",
        ),
    ),
)

_GST_WATCH = Snippet(
    "gstreamer-watch",
    "GStreamer",
    "watch",
    "GStreamer 1.26 or newer with the plugin rswebrtc of gst-plugins-rs.",
    (
        Field(
            "Command",
            """\
gst-launch-1.0 \\
  whepclientsrc signaller::whep-endpoint="{whep}" signaller::auth-token="{token}" ! \\
  decodebin ! videoconvert ! autovideosink""",
        ),
    ),
)

_FRAME = Snippet(
    "frame",
    "In a page of yours",
    "watch",
    "The player of this server in a frame. Who can read the page has the token.",
    (
        Field(
            "HTML",
            """\
<iframe src="{watch}" width="640" height="360"
  allow="autoplay; fullscreen; picture-in-picture"></iframe>""",
        ),
    ),
)

_SCRIPT = Snippet(
    "script",
    "In a script of yours",
    "watch",
    "For a page with a <video>. Pages of other sites need http.cors in the configuration.",
    (
        Field(
            "JavaScript module",
            """\
const peer = new RTCPeerConnection();
const media = new MediaStream();
peer.ontrack = ({ track }) => media.addTrack(track);
peer.addTransceiver("video", { direction: "recvonly" });
peer.addTransceiver("audio", { direction: "recvonly" });
await peer.setLocalDescription();
while (peer.iceGatheringState !== "complete") {
  await new Promise((next) => peer.addEventListener("icegatheringstatechange", next, { once: true }));
}
const answer = await fetch("{whep}", {
  method: "POST",
  headers: { "Content-Type": "application/sdp", Authorization: "Bearer {token}" },
  body: peer.localDescription.sdp,
});
if (!answer.ok) throw new Error(await answer.text());
await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
const video = document.querySelector("video");
Object.assign(video, { srcObject: media, muted: true });
await video.play();""",
        ),
    ),
)

SNIPPETS = (_OBS, _FFMPEG, _GST_PUBLISH, _GST_WATCH, _FRAME, _SCRIPT)
