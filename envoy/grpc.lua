-- What Envoy answers by itself on the gRPC port, made like the errors of the servers: code, message, details, request id.
-- Answers of the servers have no luna-reply and pass as they are.

local REPLIES = {{ replies }}
{% include "request_id.lua" %}
-- A field of protobuf with a length: bytes, a text or a message. No field here is longer than 16383 bytes.
local function field(tag, data)
  local length = #data
  local head = length < 128 and string.char(length) or string.char(128 + length % 128, math.floor(length / 128))
  return string.char(tag) .. head .. data
end

-- A google.rpc.Status whose ErrorInfo names the request as well: fields of a message may come in any order.
local function status_of(reply, message, id)
  local info = reply.info .. field(0x1a, field(0x0a, "request_id") .. field(0x12, id))
  local first = field(0x1a, field(0x0a, reply.type) .. field(0x12, info))
  return "\8" .. string.char(reply.code) .. field(0x12, message) .. first .. reply.more
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local reply = REPLIES[headers:get("luna-reply") or ""]
  if not reply then
    return
  end
  headers:remove("luna-reply")
  local id = request_id_of(headers:get("luna-request-id"))
  local message = reply.message:gsub("REQUEST_ID", function() return id end)
  headers:replace("luna-request-id", id)
  headers:replace("grpc-status", tostring(reply.code))
  headers:replace("grpc-message", (message:gsub("%%", "%%25")))
  if reply.info then
    headers:replace("grpc-status-details-bin", handle:base64Escape(status_of(reply, message, id)))
  end
end
