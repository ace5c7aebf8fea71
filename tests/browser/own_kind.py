"""A generation kind of an application's own, which the relay of these tests knows."""

from jobs.kinds import Asked, CustomKind, Prompt


async def _prompt(asked: Asked) -> Prompt:
    return Prompt([{"role": "user", "content": asked.input}])


REPORT = CustomKind(name="weekly_report", prompt=_prompt)
