"""The inference server: keeps cases, runs models in worker processes, answers over HTTP.

settings.py       one frozen Settings, read once
serve_command.py  `lungxai serve` and `lungxai doctor`;  doctor.py  what is installed and what is missing
server.py         puts the parts together and runs uvicorn;  local.py  LocalServer, a server for one caller
app.py            the routes;  answers.py  errors as answers;  security.py  token, Host, Origin, protocol
uploads.py        frames streamed to disk;  requests.py  what a job's body may say
cases.py          the record (SQLite);  schema.py  its tables;  blobs.py  its files, named by their SHA-256
jobs.py           JobBoard: jobs from acknowledged to ended, and their events
engine.py         Engine, and WorkerEngine: the queue and one spawned process per device
worker.py         that process;  batcher.py  tiles of several jobs in one model call
models.py         the models a worker holds
fused.py          fusion of a case;  report_of_case.py  what its report is made from; both off the event loop
"""
