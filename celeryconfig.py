"""Celery's settings for every process that loads ``tasks.celery``; each with its reason.

On RabbitMQ: quorum queues behind a topic exchange (the only kind that native delayed delivery supports), one queue a
priority, a dead-letter queue, publisher confirms.  On the embedded Valkey the same queues, weaker on a crash.
"""

from kombu import Exchange, Queue

from proto import queues
from tasks.settings import TaskSettings

settings = TaskSettings()

broker_url = settings.broker_url.get_secret_value()
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # a worker outlives any broker restart
broker_heartbeat = 10
broker_connection_timeout = 2

# A poison message that kills its worker each time ends in the dead-letter queue, not in a loop.
_DELIVERY_LIMIT = 20
_EXCHANGE = Exchange(queues.EXCHANGE, type="topic", durable=True)
_DEAD_EXCHANGE = Exchange(queues.DEAD_EXCHANGE, type="fanout", durable=True)


def _push_queue(priority: queues.Priority) -> Queue:
    return Queue(
        priority.queue,
        _EXCHANGE,
        routing_key=priority.queue,
        durable=True,
        queue_arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": _DELIVERY_LIMIT,
            "x-dead-letter-exchange": queues.DEAD_EXCHANGE,
        }
        if settings.on_rabbitmq
        else None,
    )


push_queues = {priority: _push_queue(priority) for priority in queues.Priority}
dead_queue = Queue(
    queues.DEAD_QUEUE,
    _DEAD_EXCHANGE,
    durable=True,
    # Bounded: dead letters are for a person to read; the oldest go first.
    queue_arguments={"x-queue-type": "quorum", "x-max-length": 100_000} if settings.on_rabbitmq else None,
)

task_queues = list(push_queues.values())
task_default_queue = queues.Priority.NORMAL.queue
task_default_exchange = queues.EXCHANGE
task_default_exchange_type = "topic"
task_default_routing_key = queues.Priority.NORMAL.queue
task_default_queue_type = "quorum" if settings.on_rabbitmq else "classic"
task_create_missing_queues = False
worker_detect_quorum_queues = settings.on_rabbitmq
broker_native_delayed_delivery_queue_type = "quorum"

broker_transport_options = (
    {"confirm_publish": True}
    if settings.on_rabbitmq
    # Defaults of the Redis transport restore a dead worker's tasks after minutes to an hour.
    else {"visibility_timeout": 30, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
)

# Acknowledge last: a worker that dies in mid-task gives the task back; nodes drop what they have had.
task_acks_late = True
task_reject_on_worker_lost = True
task_acks_on_failure = False
task_acks_on_timeout = False
worker_cancel_long_running_tasks_on_connection_loss = False

task_ignore_result = True
result_backend = None
task_serializer = "json"
accept_content = ["json"]

worker_consumer = "tasks.consumer:Consumer"  # rejects what is no task
worker_pool = "tasks.pool:TaskPool"  # threads, high priority first; one process: one connection a node, no fork trouble
worker_concurrency = settings.worker_concurrency
worker_prefetch_multiplier = (
    16  # a queue; 1 or 4 starves the threads, and what is held counts neither as depth nor as age
)
worker_soft_shutdown_timeout = 10
worker_enable_soft_shutdown_on_idle = False
worker_send_task_events = True  # Flower
worker_hijack_root_logger = False
worker_log_color = False
