/** What can be published: a camera, a screen, or a test pattern. */

/**
 * @param {"camera" | "screen" | "pattern"} source
 * @param {{sound: boolean, width?: number, height?: number, title?: string}} wanted   Without a width the
 *   source's own.
 * @returns {Promise<MediaStream>}
 */
export async function capture(source, { sound, width, height, title = "" }) {
  if (source === "pattern") {
    return pattern({ sound, width: width ?? 1280, height: height ?? 720, title });
  }
  if (!navigator.mediaDevices) {
    throw new DOMException("No secure context.", "InsecureContextError");
  }
  const size = width ? { width: { ideal: width }, height: { ideal: height } } : {};
  if (source === "screen") {
    return navigator.mediaDevices.getDisplayMedia({ video: width ? size : true, audio: sound });
  }
  return navigator.mediaDevices.getUserMedia({ video: width ? size : true, audio: sound });
}

const COLOURS = ["#c0c0c0", "#c0c000", "#00c0c0", "#00c000", "#c000c0", "#c00000", "#0000c0"];
const FRAMES = 30;

/** Colour bars, a ball that shows stutter, a clock that shows latency; and a beep at each full second. */
function pattern({ sound, width, height, title }) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const media = canvas.captureStream(FRAMES);
  // A timer: animation frames stop in a page that nobody sees.
  const timer = setInterval(() => draw(canvas, title, new Date()), 1000 / FRAMES);
  const tone = sound ? beep(media) : null;
  const [track] = media.getVideoTracks();
  const stop = track.stop.bind(track);
  track.stop = () => {
    clearInterval(timer);
    tone?.close();
    stop();
  };
  return media;
}

function draw(canvas, title, now) {
  const { width, height } = canvas;
  const pen = canvas.getContext("2d");
  COLOURS.forEach((colour, at) => {
    pen.fillStyle = colour;
    pen.fillRect((at * width) / COLOURS.length, 0, width / COLOURS.length + 1, height);
  });
  const turn = (now.getTime() % 4000) / 4000;
  pen.fillStyle = "#fff";
  pen.beginPath();
  pen.arc(width * (0.5 - 0.4 * Math.cos(2 * Math.PI * turn)), height * 0.25, height / 14, 0, 2 * Math.PI);
  pen.fill();
  pen.fillStyle = "#000c";
  pen.fillRect(0, height * 0.55, width, height * 0.3);
  pen.fillStyle = "#fff";
  pen.textAlign = "center";
  pen.font = `${height / 8}px ui-monospace, monospace`;
  pen.fillText(now.toISOString().slice(11, 23), width / 2, height * 0.69, width * 0.95);
  pen.font = `${height / 18}px system-ui, sans-serif`;
  pen.fillText(title, width / 2, height * 0.79, width * 0.95);
}

function beep(media) {
  const audio = new AudioContext();
  const [oscillator, volume] = [audio.createOscillator(), audio.createGain()];
  const out = audio.createMediaStreamDestination();
  oscillator.frequency.value = 440;
  volume.gain.value = 0;
  oscillator.connect(volume).connect(out);
  oscillator.start();
  const each = setInterval(() => {
    volume.gain.setValueAtTime(0.2, audio.currentTime);
    volume.gain.setValueAtTime(0, audio.currentTime + 0.1);
  }, 1000);
  out.stream.getTracks().forEach((track) => media.addTrack(track));
  return {
    close() {
      clearInterval(each);
      audio.close();
    },
  };
}
