/** What RTCPeerConnection.getStats() says, as the few figures that people look at. */

/**
 * @param {RTCStatsReport} report
 * @param {ReturnType<typeof measure>} [before]   What was measured last, for what is per second.
 */
export function measure(report, before) {
  const all = [...report.values()];
  const of = (type) => all.filter((each) => each.type === type);
  const rtp = of("inbound-rtp").length ? of("inbound-rtp") : of("outbound-rtp");
  const media = {};
  for (const kind of ["video", "audio"]) {
    const flow = rtp.find((each) => each.kind === kind);
    if (flow) {
      const remote = of("remote-inbound-rtp").find(({ localId }) => localId === flow.id);
      media[kind] = figures(flow, remote, report.get(flow.codecId), before?.[kind]);
    }
  }
  const transport = of("transport")[0];
  const pair = report.get(transport?.selectedCandidatePairId);
  return {
    ...media,
    rtt: media.video?.rtt ?? media.audio?.rtt ?? pair?.currentRoundTripTime ?? null,
    pair: pair ? way(report.get(pair.localCandidateId), report.get(pair.remoteCandidateId)) : "",
  };
}

function figures(flow, remote, codec, before) {
  const bytes = flow.bytesReceived ?? flow.bytesSent ?? 0;
  const seconds = before ? (flow.timestamp - before.at) / 1000 : 0;
  const received = flow.packetsReceived ?? 0;
  const lost = Math.max(0, flow.packetsLost ?? 0);
  const heard = received + lost - (before?.received ?? 0) - (before?.lost ?? 0);
  return {
    at: flow.timestamp,
    bytes,
    received,
    lost,
    bitrate: seconds > 0 ? Math.max(0, ((bytes - before.bytes) * 8) / seconds) : 0,
    loss: remote
      ? (remote.fractionLost ?? null)
      : heard > 0
        ? Math.max(0, (lost - (before?.lost ?? 0)) / heard)
        : 0,
    jitter: flow.jitter ?? remote?.jitter ?? null,
    rtt: remote?.roundTripTime ?? null,
    codec: codec?.mimeType?.split("/")[1] ?? "",
    width: flow.frameWidth ?? 0,
    height: flow.frameHeight ?? 0,
    fps: flow.framesPerSecond ?? 0,
    frames: flow.framesDecoded ?? flow.framesEncoded ?? 0,
    limited: flow.qualityLimitationReason ?? "none",
  };
}

function way(local, remote) {
  const from = local?.relayProtocol ? `relay over ${local.relayProtocol}` : local?.candidateType;
  const to = remote?.address ? ` ${remote.address}:${remote.port}` : "";
  return `${from} → ${remote?.candidateType}${to} (${local?.protocol})`;
}

/** The figures as rows for people: `[name, value]`. */
export function rows({ video, audio, rtt, pair }) {
  const milliseconds = (seconds) => (seconds === null ? "–" : `${Math.round(seconds * 1000)} ms`);
  const both = [video, audio].filter(Boolean);
  const most = (name) => both.map((each) => each[name]).filter((each) => each !== null);
  return [
    ["Resolution", video?.width ? `${video.width} × ${video.height}` : "–"],
    ["Frames", video ? `${Math.round(video.fps)} / s` : "–"],
    ["Bitrate", both.map((each) => bits(each.bitrate)).join(" + ") || "–"],
    ["Loss", most("loss").length ? `${(Math.max(...most("loss")) * 100).toFixed(1)} %` : "–"],
    ["Jitter", milliseconds(most("jitter").length ? Math.max(...most("jitter")) : null)],
    ["Round trip", milliseconds(rtt)],
    [
      "Codec",
      both
        .map(({ codec }) => codec)
        .filter(Boolean)
        .join(" + ") || "–",
    ],
    ["Way", pair || "–"],
  ];
}

/** Bits per second for people. */
export function bits(perSecond) {
  return perSecond >= 999_500
    ? `${(perSecond / 1e6).toFixed(1)} Mbit/s`
    : `${Math.round(perSecond / 1000)} kbit/s`;
}
