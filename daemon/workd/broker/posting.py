"""Bringing a chain into another queue: the call of `scripts/post.lua`. Used by the session."""

from workd.broker import keys, scripts
from workd.broker.kinship import Post
from workd.broker.link import Link


async def call(link: Link, post: Post, claim_ms: int) -> str:
    """Return what is in the way, '' if it is done. Twice is as good as once."""
    ttl_ms = int(post.result_ttl_s * 1000)
    said = (post.id, post.message, post.outcome, ttl_ms, post.reply_to or b"")
    head = (keys.prefix(post.queue), claim_ms)
    reply: bytes = await scripts.POST.call(link, (keys.stream(post.queue),), *head, *said)
    return reply.decode(errors="replace")
