-- What wrk sends, and what it may be answered: METHOD STATUS PATH TOKEN PREFIX IDS (- for none).
-- A POST has an address of its own each time; a GET asks for PATH and the next line of the file IDS.

local sent, wrong, first = 0, 0, ""
local ids, threads = {}, {}
local method, status, path, prefix
local headers = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  method, status, path, prefix = arguments[1], tonumber(arguments[2]), arguments[3], arguments[5]
  if arguments[4] ~= "-" then headers["Authorization"] = arguments[4] end
  if method == "POST" then headers["Content-Type"] = "application/json" end
  if arguments[6] ~= "-" then
    for line in io.lines(arguments[6]) do table.insert(ids, path .. line) end
  end
end

function request()
  sent = sent + 1
  if method == "POST" then
    local body = string.format('{"email":"%s%d@example.com","name":"Ada Lovelace"}', prefix, sent)
    return wrk.format(method, path, headers, body)
  end
  return wrk.format(method, #ids > 0 and ids[sent % #ids + 1] or path, headers)
end

-- Global, so that done can ask each thread for them.
refused, words = 0, ""

function response(found, _, body)
  if found ~= status then
    refused = refused + 1
    if words == "" then words = found .. " " .. body:sub(1, 200):gsub("%c", " ") end
  end
end

function done(summary, latency)
  local count, told = 0, ""
  for _, thread in ipairs(threads) do
    count = count + thread:get("refused")
    told = told .. thread:get("words")
  end
  local lost = summary.errors
  io.write(string.format("\nRESULT answered=%d microseconds=%d p50=%d p99=%d refused=%d lost=%d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), count,
    lost.connect + lost.read + lost.write + lost.timeout))
  if told ~= "" then io.write("TOLD " .. told .. "\n") end
end
