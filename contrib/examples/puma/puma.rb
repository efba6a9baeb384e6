threads 1, 8
bind "tcp://127.0.0.1:#{ENV.fetch("PORT")}"
rackup "config.ru"

# Asked to leave, answer those too that have connected but are not accepted yet.
drain_on_shutdown
