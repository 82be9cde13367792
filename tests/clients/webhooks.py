"""The event of a batch's end, as OpenAI's package unwraps it."""
import openai
from openai.types.webhooks import BatchCompletedWebhookEvent

import batches
from daemon import refused
from webhook_receiver import SECRET


def an_event_is_openais(daemon):
    batch = batches.opened(daemon.client, [batches.request("a", batches.chat_body(1))],
                           extra_body={"webhook_url": daemon.receiver.prefix + "batches"})
    body, headers = daemon.receiver.came.get(timeout=600)
    event = daemon.client.webhooks.unwrap(body, headers, secret=SECRET)
    assert isinstance(event, BatchCompletedWebhookEvent) and event.data.id == batch.id, event
    assert batches.ended(daemon.client, event.data.id).request_counts.completed == 1
    refused(openai.InvalidWebhookSignatureError,
            lambda: daemon.client.webhooks.unwrap(body.replace(b"completed", b"cancelled"), headers, secret=SECRET))


ALL = [an_event_is_openais]
