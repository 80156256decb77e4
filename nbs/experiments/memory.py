"""Peak memory of `compress` against the number of images, each in a process of its own.

python nbs/experiments/memory.py TEACHER.json DATA --out nbs/results/memory.csv
"""

import json
import subprocess
import sys

from common import Table, numbers
from fastcore.script import Param, call_parse

child = '''
import json, resource, sys
import dcvit
from dcvit.images.decode import image_files
from dcvit.images.demo import demo_data

teacher, data, n = sys.argv[1:]
model = dcvit.load_teacher(teacher)
source = image_files(data+'/train') if data else demo_data()['train']

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024

before = peak()
made = dcvit.compress(model, source, n=int(n), keep_macs=.5, recipe='closed-form', timing=False, progress=False)
seconds = sum(made.report['seconds'].values())
print(json.dumps(dict(n=int(n), before_mb=before, peak_mb=peak(), seconds=seconds)))
'''


@call_parse
def main(
    teacher: str,
    data: Param('folder with train/ and test/', str, opt=False, nargs='?') = '',
    out: str = 'nbs/results/memory.csv',
    n: str = '100,300,1000',
):
    "One row for each number of images"
    table = Table(out)
    for count in numbers(n, int):
        words = [sys.executable, '-c', child, teacher, data or '', str(count)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        table.add(**json.loads(done.stdout.splitlines()[-1]))
