"""What clusters still know of covariates, in words."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmvae.runs.record import RunRecord

WAYS = (
    "If every group should be in all of its values, try more (--epochs), a penalty on it "
    "(--forget 30), or to leave out columns that show it and little else (--kind "
    "NAME.COLUMN=ignore). Groups that some of its values lack show in this way too."
)


def covariate_lines(run: "RunRecord") -> Iterator[str]:
    """Yield a line for each covariate of a run, and what to try where much is known of one."""
    if not (covariates := run.metrics.get("covariates", {})):
        return
    from cmvae.metrics.covariates import is_known

    for name, scores in covariates.items():
        yield f"Covariate {name!r}: {_words(scores)}"
        if any(is_known(scores)):
            which = " and ".join(
                what
                for what, much in zip(("clusters", "latents"), is_known(scores), strict=True)
                if much
            )
            yield f"The {which} still tell {name!r}. {WAYS}"


def _words(scores: Mapping[str, float]) -> str:
    if "R2" in scores:
        known = f"{scores['R2 clusters']:.1%}".replace("%", " %")
        return f"clusters explain {known} of its variance, latents {100 * scores['R2']:.1f} %"
    shared = f"clusters share NMI {scores['NMI']:.3f} with it (by chance adjusted "
    told = f"{scores['AMI']:.3f}); latents tell it in {100 * scores['accuracy']:.0f} %"
    return f"{shared}{told}, by chance {100 * scores['chance']:.0f} %"
