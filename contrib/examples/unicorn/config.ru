# Answers after some seconds. The beginning and the end of each request leave a
# line each in LEDGER, so that one can see whether it was cut off.
#
#     curl 'http://127.0.0.1:8080/?name=first&seconds=20'
note = lambda do |what|
  File.write(ENV.fetch("LEDGER"), "#{what} #{ENV["SUPERD_WORKER"]} pid #{$$}\n", mode: "a")
end

run(lambda do |env|
  query = Rack::Request.new(env).GET
  name = query.fetch("name", "request")
  note.call "begin #{name}"
  sleep query.fetch("seconds", "0").to_f
  note.call "end #{name}"
  [200, { "Content-Type" => "text/plain" }, ["#{name} is done\n"]]
end)
