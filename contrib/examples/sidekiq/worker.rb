# A job that takes some seconds. Each beginning and each end leaves a line in
# JOB_LOG, so that one can see whether a job was cut off.
require "sidekiq"

redis = { url: ENV.fetch("REDIS_URL") }
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
    File.write(ENV.fetch("JOB_LOG"), "#{what} #{ENV["SUPERD_WORKER"]} pid #{$$}\n", mode: "a")
  end
end
