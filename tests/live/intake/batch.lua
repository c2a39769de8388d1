-- Requests of wrk: batches of 100 events, each event with its own id.
local n = 0
local id = math.random(1e9)
function init(args) math.randomseed(os.time()) ; id = math.random(1e9) end
function request()
  local events = {}
  for i = 1, 100 do
    n = n + 1
    events[i] = string.format('{"type":"track","event":"Product Viewed","userId":"u%d","messageId":"m-%d-%d","timestamp":"2026-11-22T08:00:00.000Z","properties":{"sku":"p%d","price":12.5},"context":{"library":{"name":"load","version":"1"}}}', n % 5000, id, n, n % 100)
  end
  return wrk.format("POST", "/v1/batch", {["Authorization"]="Basic d3JpdGUta2V5Og==", ["Content-Type"]="application/json"}, '{"sentAt":"2026-11-22T08:00:01.000Z","batch":[' .. table.concat(events, ",") .. ']}')
end
