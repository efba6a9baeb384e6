# A job that takes some seconds. Its beginning and its end leave a line each in
# LEDGER, so that one can see whether it was cut off, and by whom it was done.
#
#     ruby -r./worker.rb -e 'HardJob.perform_async("first", 20)'
require "sidekiq"

redis = { url: ENV.fetch("REDIS_URL", "redis://127.0.0.1:6379/0") }
Sidekiq.configure_client { |c| c.redis = redis }
Sidekiq.configure_server { |c| c.redis = redis }

class HardJob
  include Sidekiq::Worker

  def perform(name, seconds)
    note "begin #{name}"
    sleep seconds
    note "end #{name}"
  end

  def note(what)
    File.write(ENV.fetch("LEDGER"), "#{what} #{ENV["SUPERD_WORKER"]} pid #{$$}\n", mode: "a")
  end
end
