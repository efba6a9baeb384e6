# Answers after some seconds. The beginning and the end of each request leave a
# line each in LEDGER, so that one can see whether it was cut off.
#
#     curl 'http://127.0.0.1:8000/?name=first&seconds=20'
import os
import time
from urllib.parse import parse_qs


def note(what):
    line = "%s %s pid %d\n" % (what, os.environ.get("SUPERD_WORKER"), os.getpid())
    with open(os.environ["LEDGER"], "a") as f:
        f.write(line)


def app(environ, start_response):
    query = parse_qs(environ.get("QUERY_STRING", ""))
    name = query.get("name", ["request"])[0]
    note("begin " + name)
    time.sleep(float(query.get("seconds", ["0"])[0]))
    note("end " + name)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [(name + " is done\n").encode()]
