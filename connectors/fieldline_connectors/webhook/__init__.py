"""Signed events, in and out."""

from fieldline_connectors.webhook.connector import RETRY_SCHEDULE_S, Webhook, WebhookConfig, WebhookTarget
from fieldline_connectors.webhook.schemes import Forged, GitHub, PlainHmac, Scheme, Standard, Stripe

__all__ = [
    "RETRY_SCHEDULE_S", "Forged", "GitHub", "PlainHmac", "Scheme", "Standard", "Stripe", "Webhook", "WebhookConfig",
    "WebhookTarget",
]  # fmt: skip
