"""Runs one command and writes what it used, as JSON, into a file: Node cannot tell that of a child.

usage: python3 child-usage.py RESULT COMMAND [ARGUMENT ...]

{"exitCode": 0 or -signal, "wallSeconds", "cpuSeconds": user and system, "peakBytes": largest resident set,
 "readBytes": bytes of all read calls, of files and of sockets (rchar of /proc/self/io)}. All with the children it waited for.
Exit 0 when the command could be started, however it ended.
"""
import json
import os
import sys
import time


def read_bytes():
    # Linux adds what a child read to its parent's account when the parent has waited for it.
    with open('/proc/self/io') as account:
        return int(account.readline().split()[1])


result, *command = sys.argv[1:]
read_before = read_bytes()
begin = time.monotonic()
process_id = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(process_id, 0)
wall_seconds = time.monotonic() - begin
with open(result, 'w') as file:
    json.dump({
        'exitCode': os.waitstatus_to_exitcode(status),
        'wallSeconds': wall_seconds,
        'cpuSeconds': usage.ru_utime + usage.ru_stime,
        'peakBytes': usage.ru_maxrss * 1024,
        'readBytes': read_bytes() - read_before,
    }, file)
