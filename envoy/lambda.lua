-- Calls of lambdas, whose answers are their own: here they get the id of the request alone. What Envoy answers by itself
-- gets it too.

local NAMESPACE = "luna"

{% include "request_id.lua" %}
function envoy_on_request(handle)
  local headers = handle:headers()
  local id = request_id_of(headers:get("luna-request-id"))
  headers:replace("luna-request-id", id)
  handle:streamInfo():dynamicMetadata():set(NAMESPACE, "id", id)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local request = handle:streamInfo():dynamicMetadata():get(NAMESPACE) or {}
  if not headers:get("luna-request-id") and request["id"] then
    headers:replace("luna-request-id", request["id"])
  end
end
