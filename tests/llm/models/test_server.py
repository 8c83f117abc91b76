"""The client of OpenAI-compatible servers, against a small one on 127.0.0.1."""

import contextlib
import http.server
import json
import threading
import time

import pytest

from llm import models
from llm.models import server


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the prompt reversed; `self.server.plan` says what goes wrong first."""

    def log_message(self, *_):
        pass

    def send(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        # A client that timed out has hung up.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(data)

    def do_GET(self):
        names = self.server.models
        self.server.listed += 1
        status = self.server.list_status if self.path == "/v1/models" else 404
        self.send(status, {"data": [{"id": name, **self.server.card} for name in names]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][0]["content"]
        if self.path == "/tokenize":
            if not self.server.can_tokenize:
                return self.send(404, {})
            return self.send(200, {"count": len(text.split()) + 5})
        state = self.server
        with state.lock:
            state.requests.append((body, self.headers.get("Authorization")))
            fault = state.plan.pop(0) if state.plan else None
            state.running += 1
            state.most_running = max(state.most_running, state.running)
        time.sleep(state.delay_s if fault != "hang" else 1.0)
        with state.lock:
            state.running -= 1
        if isinstance(fault, int):
            return self.send(fault, {"error": "planned"})
        if fault == "empty":
            return self.send(200, {"choices": []})
        unknown = sorted(state.unknown & body.keys())
        if unknown:
            return self.send(*state.refuse(unknown, body))
        choice = {"message": {"content": text[::-1]}, "finish_reason": state.finish_reason}
        usage = {"prompt_tokens": 11, "completion_tokens": 7}
        return self.send(200, {"choices": [choice], "usage": usage if state.usage else None})


def by_message(unknown, body):
    return 400, {"error": {"message": f"Unrecognized request argument supplied: {unknown[0]}"}}


def by_param(unknown, body):
    error = {"message": f"Bad request {body}", "param": unknown[0], "code": None}
    return 400, {"error": error}


def by_loc(unknown, body):
    entries = [{"loc": ["body", name], "msg": "extra", "input": body} for name in unknown]
    return 422, {"detail": entries}


REFUSALS = {
    "all names": lambda unknown, body: (422, {"detail": f"Unexpected fields: {set(unknown)}"}),
    "message": by_message,
    "message and request": lambda unknown, body: (
        400,
        {"request": body, **by_message(unknown, body)[1]},
    ),
    "param": by_param,
    "loc": by_loc,
    "loc in a message": lambda unknown, body: (400, {"message": str(by_loc(unknown, body)[1])}),
}
"""How servers refuse fields; some repeat the request."""


@pytest.fixture
def http_server(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(server, "_FIRST_DELAY_S", 0.01)
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.models, made.plan, made.requests = ["coder", "other"], [], []
    made.lock, made.running, made.most_running = threading.Lock(), 0, 0
    made.delay_s, made.can_tokenize, made.usage = 0.0, True, True
    made.list_status, made.listed, made.finish_reason = 200, 0, "stop"
    made.card = {}
    made.unknown, made.refuse = set(), REFUSALS["all names"]
    made.url = f"http://127.0.0.1:{made.server_address[1]}/v1"
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_order_counts_and_body(http_server):
    model = models.load_model(http_server.url)
    assert model.name == "coder"
    prompts = [f"prompt {i}" for i in range(12)]
    made = model.generate(prompts, max_new_tokens=9, temperature=0.5, seed=1, num_samples=2)
    assert [c.text for c in made] == [p[::-1] for p in prompts for _ in range(2)]
    assert {(c.prompt_tokens, c.completion_tokens) for c in made} == {(11, 7)}
    bodies = [body for body, _ in http_server.requests]
    assert {(b["model"], b["max_tokens"], b["temperature"]) for b in bodies} == {("coder", 9, 0.5)}
    # A seed for each sample, the same in another call.
    assert len({b["seed"] for b in bodies}) == 24
    model.generate(prompts[3:4], max_new_tokens=9, temperature=0.5, seed=1)
    again = http_server.requests[-1][0]
    assert again in bodies


def test_requests_run_at_the_same_time_up_to_the_limit(http_server):
    http_server.delay_s = 0.1
    model = models.load_model(http_server.url, concurrency=4)
    model.generate(["a"] * 12)
    assert 2 <= http_server.most_running <= 4


def test_model_by_name_and_key(http_server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    model = models.load_model(f"{http_server.url}#other")
    model.generate(["a"])
    body, authorization = http_server.requests[-1]
    assert (body["model"], authorization) == ("other", "Bearer k")


@pytest.mark.parametrize(("listed", "status"), [([], 200), (["another"], 200), ([], 500)])
def test_a_named_model_need_not_be_listed(http_server, listed, status):
    """`transformers serve FOLDER` lists nothing, or fails to list, and answers all the same."""
    http_server.models, http_server.list_status = listed, status
    model = models.load_model(f"{http_server.url}#/a/folder")
    assert (model.name, model.context, http_server.listed) == ("/a/folder", None, 1)
    assert model.generate(["ab"])[0].text == "ba"
    assert http_server.requests[-1][0]["model"] == "/a/folder"


def test_a_named_model_still_needs_a_server():
    model = models.load_model("http://127.0.0.1:9/v1#coder", retries=0, timeout_s=2)
    with pytest.raises(models.ModelUnavailable, match=r"127\.0\.0\.1:9/v1/chat/completions failed"):
        model.generate(["a"])
    model = models.load_model("http://[bad/v1#coder", retries=0)
    with pytest.raises(models.ModelUnavailable, match=r"is not a URL|failed"):
        model.generate(["a"])


NEUTRAL = {
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "min_p": 0,
    "repetition_penalty": 1,
}


def test_a_server_s_own_sampling_defaults_do_not_apply(http_server):
    model = models.load_model(http_server.url)
    model.generate(["a"], temperature=0.7)
    body = http_server.requests[-1][0]
    assert {name: body[name] for name in NEUTRAL} == NEUTRAL
    assert body["top_k"] > 500_000  # of no vocabulary
    assert model.refused == set()


def test_options_of_the_chat_template_are_sent(http_server):
    models.load_model(http_server.url).generate(["a"])
    assert "chat_template_kwargs" not in http_server.requests[-1][0]
    options = {"enable_thinking": False}
    models.load_model(http_server.url, chat_template_kwargs=options).generate(["a"])
    assert http_server.requests[-1][0]["chat_template_kwargs"] == options


def test_constraints_are_sent_as_the_server_takes_them(http_server):
    one = models.Constraint((7, 12), (1, 12, 120))
    models.load_model(http_server.url).generate(["a", "b"], constraints=[one, None])
    sent = {body["messages"][0]["content"]: body for body, _ in http_server.requests}
    assert sent["a"]["structured_outputs"] == {"grammar": one.ordered_grammar}
    assert "structured_outputs" not in sent["b"]
    model = models.load_model(http_server.url, constrain_by="response_format")
    model.generate(["a"], constraints=[one])
    body = http_server.requests[-1][0]
    assert "structured_outputs" not in body
    assert body["response_format"]["type"] == "json_schema"
    assert body["response_format"]["json_schema"]["schema"] == one.json_schema
    # Asked for, so that a server that refuses it is an error and no warning.
    http_server.unknown = {"response_format"}
    with pytest.raises(models.ModelUnavailable, match=r"status 4\d\d: .*response_format"):
        model.generate(["a"], constraints=[one])
    with pytest.raises(ValueError, match="constrain_by must be 'structured_outputs' or"):
        models.load_model(http_server.url, constrain_by="guided_grammar")


def test_the_context_that_a_server_lists(http_server):
    assert models.load_model(http_server.url).context is None
    http_server.card = {"max_model_len": 4096}
    assert models.load_model(http_server.url).context == 4096
    assert models.load_model(f"{http_server.url}#other").context == 4096
    assert models.load_model(f"{http_server.url}#another").context is None
    http_server.card = {"max_model_len": "many"}
    assert models.load_model(f"{http_server.url}#coder").context is None


def test_a_seed_that_a_server_refuses_is_left_out(http_server):
    http_server.unknown = {"seed"}
    model = models.load_model(http_server.url)
    with pytest.warns(UserWarning, match="does not take seed: its defaults apply"):
        assert model.generate(["ab"])[0].text == "ba"
    assert model.refused == {"seed"}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_fields_that_a_server_refuses_are_left_out_from_then_on(http_server, refusal):
    http_server.unknown = {"top_k", "min_p", "repetition_penalty"}
    http_server.refuse = REFUSALS[refusal]
    model = models.load_model(http_server.url)
    with pytest.warns(UserWarning, match="does not take min_p, repetition_penalty, top_k"):
        assert model.generate(["ab"])[0].text == "ba"
    assert model.refused == http_server.unknown
    tries = len(http_server.requests)
    assert tries == 4
    model.generate(["ab"])
    body = http_server.requests[-1][0]
    assert len(http_server.requests) == tries + 1
    assert not http_server.unknown & body.keys()
    assert (body["top_p"], body["presence_penalty"]) == (1, 0)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_bad_request_for_another_reason_stays_an_error(http_server, refusal):
    model = models.load_model(http_server.url)
    http_server.unknown, http_server.refuse = {"max_tokens"}, REFUSALS[refusal]
    with pytest.raises(models.ModelUnavailable, match=r"status 4\d\d: .*max_tokens"):
        model.generate(["abc"])
    assert len(http_server.requests) == 1
    assert model.refused == set()


@pytest.mark.parametrize(
    ("said", "reason", "truncated"),
    [("stop", "stop", False), ("length", "length", True), (None, "", False)],
)
def test_why_a_completion_ended(http_server, said, reason, truncated):
    http_server.finish_reason = said
    (made,) = models.load_model(http_server.url).generate(["abc"])
    assert (made.finish_reason, made.truncated) == (reason, truncated)


def test_a_completion_as_long_as_allowed_is_cut_off_where_nothing_is_said(http_server):
    http_server.finish_reason = None
    model = models.load_model(http_server.url)
    reasons = [model.generate(["abc"], max_new_tokens=n)[0].finish_reason for n in (7, 8)]
    assert reasons == ["length", ""]  # of 7 tokens


@pytest.mark.parametrize("plan", [[500], [503, 429], ["hang"]])
def test_what_may_pass_is_tried_again(http_server, plan):
    model = models.load_model(http_server.url, timeout_s=0.4)
    http_server.plan = list(plan)
    (made,) = model.generate(["abc"])
    assert made.text == "cba"
    assert len(http_server.requests) == len(plan) + 1


@pytest.mark.parametrize(
    ("plan", "message", "requests"),
    [
        ([500] * 9, "status 500", 3),
        ([400], "status 400", 1),
        (["hang"] * 9, "no answer within 0.2 s", 3),
        (["empty"], "without a completion", 1),
    ],
)
def test_what_stays_wrong_is_one_error(http_server, plan, message, requests):
    model = models.load_model(http_server.url, timeout_s=0.2, retries=2)
    http_server.plan = list(plan)
    with pytest.raises(models.ModelUnavailable, match=message):
        model.generate(["abc"])
    assert len(http_server.requests) == requests


def test_token_counts_of_the_server_or_an_estimate(http_server):
    model = models.load_model(http_server.url)
    assert model.count_tokens("one two three") == 8
    http_server.can_tokenize, http_server.usage = False, False
    model = models.load_model(http_server.url)
    assert model.count_tokens("one two 345") == server.estimate_tokens("one two 345")
    (made,) = model.generate(["one two 345"])
    assert made.prompt_tokens == server.estimate_tokens("one two 345")
    assert made.completion_tokens >= 1


def test_no_server():
    with pytest.raises(models.ModelUnavailable, match=r"127\.0\.0\.1:9/v1/models failed"):
        models.load_model("http://127.0.0.1:9/v1", retries=0, timeout_s=2)
    with pytest.raises(models.ModelUnavailable, match=r"is not a URL|failed"):
        models.load_model("http://[bad/v1", retries=0)


def test_not_an_api(http_server):
    with pytest.raises(models.ModelUnavailable, match="status 404"):
        models.load_model(http_server.url + "/v2", retries=0)
    http_server.models = []
    with pytest.raises(models.ModelUnavailable, match=r"lists no model; name one as .*#model"):
        models.load_model(http_server.url)


@pytest.mark.parametrize("options", [{"timeout_s": 0}, {"retries": -1}, {"concurrency": 0}])
def test_options_are_checked(options):
    with pytest.raises(ValueError, match="timeout_s must be above 0"):
        models.load_model("http://127.0.0.1:9", **options)
