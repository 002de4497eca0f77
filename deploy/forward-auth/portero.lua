-- Asks Portero about a request. haproxy.cfg loads it.

local portero = "http://127.0.0.1:3000"

-- What the application is told: the names of `identity`, and what is left of the client's own cookies and credentials. What a
-- client sends under these names is always replaced or removed. Have each here that your configuration has.
local told = {
	"x-forwarded-user", "x-forwarded-email", "x-forwarded-preferred-username", "x-forwarded-name", "x-forwarded-groups",
	"cookie", "authorization",
}

-- Headers of a message that are not handed on: they belong to a connection, or to a body.
local own = {
	["connection"] = true, ["keep-alive"] = true, ["te"] = true, ["trailer"] = true, ["transfer-encoding"] = true, ["upgrade"] = true,
	["content-length"] = true, ["expect"] = true, ["proxy-connection"] = true,
}

core.register_action("portero", { "http-req" }, function(txn)
	local headers = {}
	for name, values in pairs(txn.http:req_get_headers()) do
		if not own[name] then
			headers[name] = {}
			for i = 0, #values do
				table.insert(headers[name], values[i])
			end
		end
	end
	-- RFC 9110 5.2: several lines are one list; the address of the client is the last.
	headers["x-forwarded-for"] = { table.concat(headers["x-forwarded-for"] or {}, ", ") }
	headers["x-forwarded-method"] = { txn.f:method() }
	headers["x-forwarded-uri"] = { txn.f:pathq() }

	local answer = core.httpclient():get { url = portero .. "/_portero/auth-redirect", headers = headers, timeout = 10000 }
	if answer and answer.status == 200 then
		for _, name in ipairs(told) do
			txn.http:req_del_header(name)
			for _, value in pairs(answer.headers[name] or {}) do
				txn.http:req_add_header(name, value)
			end
		end
		return
	end

	-- Everything else denies. Portero's answer is for the person; without one there is 503.
	local reply = txn:reply { status = 503 }
	if answer and answer.status >= 300 and answer.status < 600 then
		reply:set_status(answer.status, answer.reason)
		for name, values in pairs(answer.headers) do
			if not own[name] then
				for _, value in pairs(values) do
					reply:add_header(name, value)
				end
			end
		end
		reply:set_body(answer.body or "")
	end
	txn:done(reply)
end)
