-- What HTTP needs and gRPC has not, at the edge: status, HEAD, 204, request ids, errors of gRPC itself.
-- Stands above the transcoder, so that it sees responses after it.

local ERRORS = {{ grpc_errors }}
local NAMESPACE = "luna"
local SOCKET_REFUSALS = {["414"] = true, ["431"] = true}

{% include "request_id.lua" %}
function envoy_on_request(handle)
  local headers = handle:headers()
  local id = request_id_of(headers:get("luna-request-id"))
  headers:replace("luna-request-id", id)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(NAMESPACE, "id", id)
  if headers:get(":method") == "HEAD" then
    metadata:set(NAMESPACE, "head", true)
  end
  if (headers:get("content-type") or ""):sub(1, 16):lower() == "application/grpc" then
    metadata:set(NAMESPACE, "native", true)
  end
end

-- Headers that gRPC metadata cannot hold, in the form of a query.
local function unfold(headers, text)
  for name, value in text:gmatch("([^=&]+)=([^&]*)") do
    headers:replace(name, (value:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)))
  end
end

local function fail(handle, failure, request)
  local headers = handle:headers()
  local id = (request["id"] or ""):gsub('[\\"]', "\\%0")
  local text = failure.body:gsub("REQUEST_ID", function() return id end)
  headers:replace(":status", failure.status)
  headers:replace("content-type", "application/json")
  if request["head"] then
    headers:replace("content-length", tostring(#text))
    return
  end
  headers:replace("content-length", tostring(handle:body(true):setBytes(text)))
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local request = handle:streamInfo():dynamicMetadata():get(NAMESPACE) or {}
  if not headers:get("luna-request-id") and request["id"] then
    headers:replace("luna-request-id", request["id"])
  end
  local status, length = headers:get("x-http-status"), headers:get("x-content-length")
  headers:remove("x-http-status")
  headers:remove("x-content-length")
  local folded = headers:get("x-http-headers")
  if folded then
    headers:remove("x-http-headers")
    unfold(headers, folded)
  end
  if status then
    headers:replace(":status", status)
    if request["head"] then
      headers:replace("content-length", length or "0")
    elseif length ~= (headers:get("content-length") or "0") then
      -- the call failed after its headers were sent; there is no buffer any more to put an error into
      headers:replace(":status", "500")
      headers:replace("content-length", "0")
      headers:remove("content-type")
    elseif status == "204" then
      headers:remove("content-type")
      headers:remove("content-length")
    elseif length == "0" then
      headers:remove("content-type")
    end
  elseif (headers:get("content-type") or ""):sub(1, 16) == "application/grpc" then
    -- gRPC failed before the facade answered, or a native call was refused
    fail(handle, ERRORS[request["native"] and "native" or headers:get("grpc-status") or ""] or ERRORS["default"], request)
  elseif SOCKET_REFUSALS[headers:get(":status")] and (headers:get("content-type") or ""):sub(1, 10) == "text/plain" then
    fail(handle, ERRORS["socket"], request)
  end
  headers:remove("grpc-status")
  headers:remove("grpc-message")
  headers:remove("grpc-accept-encoding")
end
