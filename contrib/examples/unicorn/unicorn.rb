worker_processes 4
timeout 30 # unicorn kills what takes longer; superd waits 30 s, too
listen "127.0.0.1:#{ENV.fetch("PORT")}", reuseport: true
