"""OpenAI-compatible servers such as vLLM: concurrent requests, time-outs, retries."""

import concurrent.futures
import functools
import math
import os
import random
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import httpx

from llm.models.completion import (
    HUB_PROMPT_BUDGET,
    Completion,
    ModelUnavailable,
    check_constraints,
    check_sampling,
    sample_seed,
)
from llm.models.constraint import Constraint

ConstrainBy = Literal["structured_outputs", "response_format"]

_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}
_FIRST_DELAY_S = 0.25
_LONGEST_DELAY_S = 8.0
_PIECES = re.compile(r"[A-Za-z]+|\d|\n|[^\sA-Za-z\d]|[^\S\n]{2,}")
_TEMPLATE_TOKENS = 32
# Where a refusal says which field is wrong, and a key of a request that it repeats.
_PLACE = re.compile(r"[\"'](?:param|loc)\\?[\"']\s*:\s*(\\?[\"'][\w.]+|[\[(][^])]{0,200})")
_REQUEST_KEY = re.compile(r"\w+\\*[\"']\s*:")
_NEUTRAL = {
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    # More than any vocabulary: 0 and -1 are "off" to some servers and errors to others.
    "top_k": 1 << 20,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
}
"""Sent with every request, since a server's own defaults (often those of the checkpoint) would
apply unseen. The last three are extensions that OpenAI's own server and others refuse."""
_CAN_GO = {*_NEUTRAL, "seed"}
_LIST_TIMEOUT_S = 10.0


class ServerModel:
    """A model behind `POST {url}/chat/completions`.

    Samples come from the softmax at the temperature alone: `top_p`, `top_k` and the penalties are
    sent at values that change nothing. A field of these, or the seed, that the server refuses by
    name is left out from then on, with a warning, since the server's default then applies.

    Token counts come from the server's `/tokenize` (vLLM has it); where there is none, from an
    estimate on the high side. A key is read from the environment, `OPENAI_API_KEY`.

    Args:
        spec: base URL such as "http://host:8000/v1", with "#model" behind it to name the model.
            A named model need not be listed by `{url}/models`, and a server that does not answer
            is then noticed at the first completion.
        timeout_s: the most that one request may take [s].
        retries: further tries after a connection error, a time-out, or a status that may pass
            (408, 409, 425, 429, 500, 502, 503, 504), with doubled delays.
        concurrency: requests at a time.
        prompt_budget: default prompt length [tokens].
        max_new_tokens: default completion length [tokens].
        chat_template_kwargs: what the chat template is told besides the prompt, for example
            `{"enable_thinking": False}`; vLLM and others take it, OpenAI's own server does not.
        constrain_by: the field of a request that holds a constraint: "structured_outputs", with
            a grammar, is vLLM's (from 0.11 on; 0.12 no longer knows `guided_grammar`),
            "response_format", with a JSON schema, is OpenAI's. Either way each user comes once at
            most, and a channel may come twice. A server that ignores the field is not noticed.

    Attributes:
        refused: fields of `_NEUTRAL`, and "seed", that this server does not take.
        context: the most tokens of prompt and completion together, where the server lists the
            model and says so (vLLM does); else None.

    Raises:
        ModelUnavailable: no model is named, and the server does not answer or lists none.
        ValueError: an option out of range.
    """

    def __init__(
        self,
        spec: str,
        *,
        timeout_s: float = 120.0,
        retries: int = 3,
        concurrency: int = 16,
        prompt_budget: int = HUB_PROMPT_BUDGET,
        max_new_tokens: int = 768,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        constrain_by: ConstrainBy = "structured_outputs",
    ):
        if not timeout_s > 0 or retries < 0 or concurrency < 1:
            raise ValueError(
                "timeout_s must be above 0, retries at least 0 and concurrency at least 1, "
                f"got {timeout_s}, {retries} and {concurrency}"
            )
        if constrain_by not in get_args(ConstrainBy):
            accepted = " or ".join(map(repr, get_args(ConstrainBy)))
            raise ValueError(f"constrain_by must be {accepted}, got {constrain_by!r}")
        url, _, wanted = spec.partition("#")
        self.url = url.rstrip("/")
        self.retries, self.concurrency = retries, concurrency
        self.prompt_budget, self.max_new_tokens = prompt_budget, max_new_tokens
        key = os.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(timeout=timeout_s, headers=headers)
        self.constrain_by = constrain_by
        # Left out where nothing is said, since many servers refuse the field.
        self._template: dict[str, Any] = {}
        if chat_template_kwargs:
            self._template["chat_template_kwargs"] = dict(chat_template_kwargs)
        self.refused: set[str] = set()
        self.context: int | None = None
        self.model = wanted or self._choose()
        if wanted:
            self.context = self._listed_context(wanted)
        self.name = self.model
        self._can_tokenize = self._tokenize("a") is not None

    def _choose(self) -> str:
        url = f"{self.url}/models"
        answer = _decoded(self._send("GET", url))
        try:
            offered = [entry["id"] for entry in answer["data"]]
        except (KeyError, TypeError) as error:
            raise ModelUnavailable(f"{url} is not an OpenAI-style list") from error
        if not offered:
            raise ModelUnavailable(f"{self.url} lists no model; name one as {self.url}#model")
        self.context = _context(answer["data"][0])
        return offered[0]

    def _listed_context(self, model: str) -> int | None:
        """Of a named model, if the server lists it; asked once, and any failure is None."""
        try:
            listed = self.client.get(f"{self.url}/models", timeout=_LIST_TIMEOUT_S).json()["data"]
            return next((_context(entry) for entry in listed if entry["id"] == model), None)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _send(self, method: str, url: str, body: dict | None = None) -> httpx.Response:
        """The answer, after as many tries as allowed; of any status but those in `_RETRIED`."""
        reason = ""
        for attempt in range(self.retries + 1):
            if attempt:
                delay = min(_FIRST_DELAY_S * 2 ** (attempt - 1), _LONGEST_DELAY_S)
                # Spread, so that requests that failed together do not come back together.
                time.sleep(delay * random.uniform(0.5, 1.0))
            try:
                response = self.client.request(method, url, json=body)
            except httpx.TimeoutException:
                reason = f"no answer within {self.client.timeout.read:g} s"
                continue
            except httpx.HTTPError as error:
                reason = str(error) or type(error).__name__
                continue
            except httpx.InvalidURL as error:
                raise ModelUnavailable(f"{url!r} is not a URL: {error}") from error
            if response.status_code not in _RETRIED:
                return response
            reason = _status(response)
        raise ModelUnavailable(f"server {url} failed: {reason}")

    @functools.lru_cache(maxsize=256)  # noqa: B019 - a model lives as long as its process
    def _tokenize(self, text: str) -> int | None:
        root = self.url.removesuffix("/v1")
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "add_generation_prompt": True,
            **self._template,
        }
        try:
            response = self.client.post(f"{root}/tokenize", json=body)
            return int(response.json()["count"]) if response.is_success else None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
            return None

    def count_tokens(self, text: str) -> int:
        """Tokens of the prompt `text` as the server's model receives it, or an upper estimate."""
        count = self._tokenize(text) if self._can_tokenize else None
        return estimate_tokens(text) if count is None else count

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        num_samples: int = 1,
        constraints: Sequence[Constraint | None] | None = None,
    ) -> list[Completion]:
        """See `llm.models.Model`. Whether a seed is honoured is up to the server.

        Raises:
            ModelUnavailable: a request failed in all its tries.
            ValueError: an option out of range.
        """
        limit = self.max_new_tokens if max_new_tokens is None else max_new_tokens
        check_sampling(limit, temperature, num_samples)
        check_constraints(constraints, prompts)
        constraints = [None] * len(prompts) if constraints is None else constraints

        def one(prompt: str, index: int, constraint: Constraint | None) -> Completion:
            body = {
                "model": self.model,
                "messages": [{"role": "user", "content": prompt}],
                "max_tokens": limit,
                "temperature": temperature,
                **_NEUTRAL,
                **self._template,
                **self._constrained(constraint),
                # Some servers take 32 bits only.
                "seed": sample_seed(seed, prompt, index) % 2**31,
            }
            return self._complete(body)

        with concurrent.futures.ThreadPoolExecutor(self.concurrency) as pool:
            jobs = [
                pool.submit(one, prompt, k, constraint)
                for prompt, constraint in zip(prompts, constraints, strict=True)
                for k in range(num_samples)
            ]
            try:
                return [job.result() for job in jobs]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _constrained(self, constraint: Constraint | None) -> dict[str, Any]:
        if constraint is None:
            return {}
        if self.constrain_by == "structured_outputs":
            return {"structured_outputs": {"grammar": constraint.ordered_grammar}}
        # What is strict must name all users, and there may be channels for some only.
        strict = constraint.pairs == len(constraint.users)
        action = {"name": "action", "strict": strict, "schema": constraint.json_schema}
        return {"response_format": {"type": "json_schema", "json_schema": action}}

    def _complete(self, body: dict) -> Completion:
        answer, seconds = self._post(body)
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"] or ""
        except (KeyError, IndexError, TypeError) as error:
            raise ModelUnavailable(f"{self.url} answered without a completion") from error
        usage = answer.get("usage") or {}
        prompt = body["messages"][0]["content"]
        used = int(usage.get("completion_tokens") or 0)
        reason = str(choice.get("finish_reason") or "")
        if not reason and used >= body["max_tokens"]:
            reason = "length"  # where the server counts, but says nothing
        return Completion(
            text,
            int(usage.get("prompt_tokens") or self.count_tokens(prompt)),
            used or estimate_tokens(text),
            seconds,
            reason,
        )

    def _post(self, body: dict) -> tuple[Any, float]:
        """The decoded answer to the body less what the server refuses, and its seconds."""
        refused = set(self.refused)
        while True:
            sent = {name: value for name, value in body.items() if name not in refused}
            start = time.perf_counter()
            response = self._send("POST", f"{self.url}/chat/completions", sent)
            seconds = time.perf_counter() - start
            field = _refused(response, sent)
            if field is None:
                break
            refused.add(field)
        answer = _decoded(response)
        # Only now is it known that those fields were the reason.
        new = refused - self.refused
        self.refused |= refused
        if new:
            fields = ", ".join(sorted(new))
            warnings.warn(f"{self.url} does not take {fields}: its defaults apply", stacklevel=2)
        return answer, seconds


def _refused(response: httpx.Response, sent: dict) -> str | None:
    """The first sent field that can be left out, of those that an answer "bad request" names.

    Where the answer says which field is wrong (`param`, `loc`), only that counts; elsewhere any
    mention but `"top_k":`, which is the request repeated.
    """
    if response.status_code not in (400, 422):
        return None
    said = " ".join(_PLACE.findall(response.text)) or _REQUEST_KEY.sub("", response.text)
    return next((w for w in re.findall(r"\w+", said) if w in sent and w in _CAN_GO), None)


def _context(entry: Any) -> int | None:
    """`max_model_len` of an entry of a server's list."""
    length = entry.get("max_model_len")
    return length if isinstance(length, int) else None


def _status(response: httpx.Response) -> str:
    return f"status {response.status_code}: {response.text[:200]}"


def _decoded(response: httpx.Response) -> Any:
    if not response.is_success:
        raise ModelUnavailable(f"server {response.url} failed: {_status(response)}")
    try:
        return response.json()
    except ValueError as error:
        raise ModelUnavailable(f"server {response.url} answered with no JSON") from error


def estimate_tokens(text: str) -> int:
    """An estimate on the high side for byte-level BPE vocabularies that split digits.

    A digit, a mark, a line end and each started five letters count one. For servers that cannot
    count; the budget then holds by the estimate, and the server's own count is what is reported.
    """
    pieces = (math.ceil(len(p) / 5) if p[0].isalpha() else 1 for p in _PIECES.findall(text))
    return _TEMPLATE_TOKENS + sum(pieces)
