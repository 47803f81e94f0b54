"""The Celery app.  Imports nothing that does I/O: web processes load it only to form task messages."""

from celery import Celery

app = Celery("cloudpush", include=["tasks.push", "tasks.worker"], events="tasks.events:Events")
app.config_from_object("celeryconfig")
