# Two mends for the warm shutdown with Redis as the broker, for Celery and Kombu 5.2
# as Debian 12 has them. Without these, some of the tasks that come at the moment of a
# shutdown are lost or done twice, whoever it is that sends TERM.
import os
import queue
import signal

import celery
import kombu
from celery.signals import worker_ready
from celery.worker import state
from kombu.transport import redis


def install():
    if celery.VERSION[:2] == (5, 2):
        worker_ready.connect(finish_what_is_in_hand)
    if kombu.VERSION[:3] < (5, 3, 2):
        redis.Transport.Channel = Channel


# Celery's own handler of TERM throws an exception into whatever is being done: a
# task may have left Redis and not be noted yet, or a result be half read. This one
# makes a note that Celery's loop reads between two events.
def finish_what_is_in_hand(**_):
    signal.signal(signal.SIGTERM, lambda *_: setattr(state, "should_stop", os.EX_OK))


# A worker has nearly always asked Redis for its next task. Kombu hangs up without
# waiting for the answer, and the task that comes with it is nobody's.
class Channel(redis.Channel):
    def close(self):
        if self._in_poll and not self.closed:
            try:
                self._brpop_read()  # what comes is put back when the channel closes
            except queue.Empty:
                pass
        super().close()
