"""Peak memory of `compress` against the number of images, each in a process of its own.

python nbs/experiments/memory.py TEACHER.json DATA --out nbs/results/memory.csv
"""
import json, subprocess, sys
import pandas as pd
from fastcore.script import call_parse, Param

child = '''
import resource, sys, json
import dcvit
from dcvit.data import demo_data, image_files
m = dcvit.load_teacher(sys.argv[1]); source = image_files(sys.argv[2]+'/train') if sys.argv[2] else demo_data()['train']
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024
r = dcvit.compress(m, source, n=int(sys.argv[3]), keep_macs=.5, recipe='closed-form', timing=False, progress=False)
print(json.dumps(dict(n=int(sys.argv[3]), before_mb=base, peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024, seconds=sum(r.report['seconds'].values()))))
'''

@call_parse
def main(teacher:str, data:Param('folder with train/ and test/', str, opt=False, nargs='?')='', out:str='nbs/results/memory.csv', n:str='100,300,1000'):
    "One row for each number of images"
    rows = []
    for k in n.split(','):
        p = subprocess.run([sys.executable, '-c', child, teacher, data or '', k], capture_output=True, text=True)
        if p.returncode: sys.exit(p.stderr)
        rows.append(json.loads(p.stdout.splitlines()[-1])); print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(out, index=False)
