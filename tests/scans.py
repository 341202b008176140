"""A store that tells when its scans are closed."""

from dkvector.backends.exact import ExactStore


def telling(closed):
    """Make a kind of exact store that notes in `closed` each scan that ended, or was let go."""

    class Telling(ExactStore):
        async def _scan(self, where, columns, batch_size, *, include_vectors):
            try:
                async for one in super()._scan(where, columns, batch_size, include_vectors=include_vectors):
                    yield one
            finally:
                closed.append(True)

    return Telling
