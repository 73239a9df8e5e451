-- Publishes under new names and deletes every session that it is given. One thread only. A token may stand in
-- the environment, as TOKEN.
local offer = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n" .. string.rep("a=rtpmap:96 VP8/90000\r\n", 60)
local token = os.getenv("TOKEN")
local headers = { ["Content-Type"] = "application/sdp" }
if token then
  headers["Authorization"] = "Bearer " .. token
  wrk.headers["Authorization"] = headers["Authorization"]
end
local made, count, thread_of_all = {}, 0, nil
failed = 0

function setup(thread) thread_of_all = thread end

function request()
  local session = table.remove(made)
  if session then return wrk.format("DELETE", session) end
  count = count + 1
  return wrk.format("POST", "/whip/bench-" .. count, headers, offer)
end

function response(status, headers)
  local session = headers["Location"] or headers["location"]
  if status == 201 and session then
    table.insert(made, session)
  elseif status ~= 204 then
    failed = failed + 1
  end
end

function done(summary, latency)
  local e = summary.errors
  local bad = thread_of_all:get("failed") + e.connect + e.read + e.write + e.timeout
  io.write(string.format("RESULT rps=%.1f requests=%d p50=%d p99=%d failed=%d\n",
    summary.requests / summary.duration * 1e6, summary.requests, latency:percentile(50), latency:percentile(99), bad))
end
