"""Is a window near to the explanation? A scorer of another package."""

from latentbench.kernel.forms import Ordering
from latentbench.kernel.requests import Capability, Embed
from latentbench.kernel.trial import Trial, seen
from latentbench.scorers.metrics.yes_no import binary_metrics
from latentbench.scorers.scorer import Metric, Scorer, failed, judged


class Nearness(Scorer):
    """Inner product of explanation and window, both embedded as documents."""

    needs = (frozenset({Capability.EMBED}),)

    def metric_table(self):
        """AUROC alone."""
        return (Metric("auroc", 0.5),)

    def trials(self, latent, explanation, seed):
        """One per test window."""
        return [Trial(str(w.id), self.name, Ordering(), explanation, (seen(w),), (int(w.active),)) for w in latent.test]

    def requests(self, trial, can):
        """Both texts."""
        return [Embed(trial.explanation), Embed(trial.windows[0].text)]

    def parse(self, trial, replies):
        """The inner product."""
        for reply in replies:
            if not reply.ok:
                return failed(trial, reply)
        return [judged(trial, score=float(replies[0].vector @ replies[1].vector))]

    def metrics(self, judgements):
        """AUROC."""
        found = binary_metrics([j.truth for j in judgements], None, [j.score for j in judgements])
        return {"auroc": found["auroc"]} if "auroc" in found else {}
