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
        found = self.path == "/v1/models"
        self.send(200 if found else 404, {"data": [{"id": name} for name in names]})

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
        choice = {"message": {"content": text[::-1]}}
        usage = {"prompt_tokens": 11, "completion_tokens": 7}
        return self.send(200, {"choices": [choice], "usage": usage if state.usage else None})


@pytest.fixture
def http_server(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(server, "_FIRST_DELAY_S", 0.01)
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.models, made.plan, made.requests = ["coder", "other"], [], []
    made.lock, made.running, made.most_running = threading.Lock(), 0, 0
    made.delay_s, made.can_tokenize, made.usage = 0.0, True, True
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
    with pytest.raises(models.ModelUnavailable, match=r"'third' is not offered by .* coder, other"):
        models.load_model(f"{http_server.url}#third")


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
    with pytest.raises(models.ModelUnavailable, match="offers no model"):
        models.load_model(http_server.url)


@pytest.mark.parametrize("options", [{"timeout_s": 0}, {"retries": -1}, {"concurrency": 0}])
def test_options_are_checked(options):
    with pytest.raises(ValueError, match="timeout_s must be above 0"):
        models.load_model("http://127.0.0.1:9", **options)
