# A task that takes some seconds. Its beginning and its end leave a line each in
# LEDGER, so that one can see whether it was cut off, and by whom it was done.
#
#     /usr/bin/python3 -c 'import tasks; tasks.hard.delay("first", 20)'
import os
import time

from celery import Celery

import patience

app = Celery("tasks", broker=os.environ.get("BROKER", "redis://127.0.0.1:6379/0"))
app.conf.task_ignore_result = True

# A task leaves the queue when it is done, not when it is begun: one that is cut
# off is begun again, by QUIT at once, after a KILL when this time is over. It must
# be longer than the longest task, which would be begun twice otherwise.
app.conf.task_acks_late = True
app.conf.broker_transport_options = {"visibility_timeout": 12 * 3600}

# Fetch no more tasks than can be worked on: the others are for other workers.
app.conf.worker_prefetch_multiplier = 1

# Some of what was fetched would be lost in a shutdown: see there.
patience.install()


def note(what):
    line = "%s %s pid %d\n" % (what, os.environ.get("SUPERD_WORKER"), os.getpid())
    with open(os.environ["LEDGER"], "a") as f:
        f.write(line)


@app.task
def hard(name, seconds):
    note("begin " + name)
    time.sleep(seconds)
    note("end " + name)
