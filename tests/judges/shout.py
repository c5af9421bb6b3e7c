"""A judge of another package: it says the prompt in capitals."""

from latentbench.judges.judge import BaseJudge
from latentbench.kernel.requests import Capability, JudgeIdentity, Reply


class Shout(BaseJudge):
    """All that a judge needs: an identity, what it can do, and an answer to each request."""

    can = frozenset({Capability.CHAT})

    def __init__(self, model, params):
        self.identity = JudgeIdentity("shout", model, "1", "exact")

    async def answer(self, requests):
        """One reply per request, in order."""
        return [Reply(text=request.messages[-1].content.upper()) for request in requests]
