"""A server that speaks as SGLang does, over a small Hugging Face model on the CPU: loopback.py MODEL OPTIONS...

Every request is parsed by SGLang's own classes and its contract check, field names included; weights go through its
restricted unpickler and the loader that its option names. The drawing itself is written here, after its sampler.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
from typing import Annotated, Any

import msgspec
import torch
import uvicorn
from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from sglang.srt.arg_groups.overrides import resolving_view
from sglang.srt.entrypoints.api_contract import generate_contract_error
from sglang.srt.managers import io_struct
from sglang.srt.sampling.sampling_params import TOP_K_ALL, SamplingParams
from sglang.srt.server_args import ServerArgs, prepare_server_args
from sglang.srt.utils import MultiprocessingSerializer, dynamic_import
from sglang.srt.utils.auth import add_api_key_middleware
from transformers import AutoConfig, AutoModelForCausalLM

EOS = 2
app = FastAPI()


class Served:
    """The model and the state of SGLang's scheduler that matters here."""

    def __init__(self, args: ServerArgs) -> None:
        torch.manual_seed(12345)
        torch.set_num_threads(1)
        self.args = args
        self.model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(args.model_path)).eval()
        self.model.load_weights = self.load_weights
        self.session = self.stuck = False
        self.asleep: set[str] = set()
        self.flushed = 0
        self.answered = 0
        self.fault = os.environ.get("LOOPBACK_FAULT", "")

    def load_weights(self, named: Any) -> None:
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        for name, tensor in named:
            parameters[name].data.copy_(tensor)


@torch.no_grad()
def logits_of(ids: list[int]) -> torch.Tensor:
    return served.model(input_ids=torch.tensor([ids])).logits[0].float()


def draw(obj: io_struct.GenerateReqInput) -> dict[str, Any]:
    """One answer, step by step as SGLang's scheduler and sampler do it. Raises ValueError as its checks do."""
    params = SamplingParams(**obj.sampling_params)
    params.verify(served.model.config.vocab_size)
    prompt, limit = list(obj.input_ids), served.args.context_length
    if max(prompt) >= served.model.config.vocab_size:
        raise ValueError("The input_ids contain values greater than the vocab size")
    if len(prompt) >= limit or len(prompt) + params.max_new_tokens > limit:
        raise ValueError(
            f"The input ({len(prompt)} tokens) is longer than the model's context length ({limit} tokens)."
        )
    if obj.return_sampling_mask and not 1 < params.top_k <= 4096:
        raise ValueError("return_sampling_mask requires top_k=1 for greedy sampling or finite 1 < top_k <= 4096")
    budget = min(params.max_new_tokens, limit - 1 - len(prompt) - 1)
    tokens, recorded, behaviour, finish = [], [], [], {"type": "length", "length": budget}
    generator = torch.Generator()
    ends = (params.stop_token_ids or set()) | {EOS}
    while len(tokens) < budget:
        logits = logits_of(prompt + tokens)[-1]
        for token, bias in (params.logit_bias or {}).items():
            logits[int(token)] += bias
        if len(tokens) < params.min_new_tokens:
            logits[list(ends)] = -torch.inf
        logprobs = (logits / params.temperature).log_softmax(-1)
        keep = logprobs
        if params.top_k < TOP_K_ALL:
            keep = torch.full_like(logprobs, -torch.inf)
            top = logprobs.topk(params.top_k).indices
            keep[top] = logprobs[top]
        generator.manual_seed((params.sampling_seed or 42) % 2**63 ^ len(tokens))
        token = int(torch.multinomial(keep.softmax(-1), 1, generator=generator))
        tokens.append(token)
        recorded.append([float(logprobs[token]), token, None])
        behaviour.append(float(keep.log_softmax(-1)[token]))
        text = "".join(chr(97 + token % 26) for token in tokens)
        if any(stop in text for stop in params.stop_strs or []):
            finish = {"type": "stop", "matched": params.stop_strs[0]}
            break
        if not params.ignore_eos and token in ends:
            finish = {"type": "stop", "matched": token}
            break
    meta = {"id": obj.rid, "finish_reason": finish, "weight_version": "default"}
    if obj.return_logprob:
        meta["output_token_logprobs"] = recorded
        if obj.logprob_start_len == 0:
            given = logits_of(prompt)[:-1].log_softmax(-1)
            values = [None, *given.gather(-1, torch.tensor(prompt[1:])[:, None])[:, 0].tolist()]
            meta["input_token_logprobs"] = [[value, token, None] for value, token in zip(values, prompt, strict=True)]
    if obj.return_sampling_mask:
        meta["output_token_sampling_logprobs"] = behaviour
    return {"text": "", "output_ids": tokens, "meta_info": meta}


def unknown(body: dict[str, Any], names: set[str]) -> str:
    return ", ".join(sorted(set(body) - names))


@app.get("/health")
async def health() -> Response:
    return Response(status_code=503 if served.stuck else 200)


@app.get("/server_info")
async def server_info() -> dict[str, Any]:
    view = resolving_view(served.args)
    return {
        name: getattr(view, name) for name in ("tp_size", "custom_weight_loader", "enable_deterministic_inference")
    } | {"flushed": served.flushed, "answered": served.answered, "asleep": sorted(served.asleep)}


@app.post("/generate")
async def generate(obj: io_struct.GenerateReqInput, request: Request) -> Any:
    body = await request.json()
    wrong = generate_contract_error(body) or unknown(body, {f.name for f in dataclasses.fields(obj)})
    if wrong:
        return JSONResponse({"error": wrong}, 400)
    while served.fault == "hang":
        served.stuck = True
        await asyncio.sleep(1)
    if served.asleep:
        return JSONResponse({"error": {"message": f"asleep: {sorted(served.asleep)}"}}, 500)
    try:
        obj.normalize_batch_and_arguments()
        answer = await asyncio.to_thread(draw, obj)
    except ValueError as error:
        return JSONResponse({"error": {"message": str(error)}}, 400)
    if served.fault.startswith("die") and served.answered == int(served.fault[3:]):
        os.kill(os.getpid(), signal.SIGKILL)
    served.answered += 1
    return answer


def outcome(success: bool, message: str = "Success") -> JSONResponse:
    return JSONResponse({"success": success, "message": message}, 200 if success else 400)


def checked(kind: type[msgspec.Struct], body: dict[str, Any]) -> None:
    wrong = unknown(body, {field.name for field in msgspec.structs.fields(kind)})
    assert not wrong, f"{kind.__name__} has no {wrong}"


@app.post("/begin_weight_update")
async def begin(obj: Annotated[io_struct.BeginWeightUpdateReqInput, Body()]) -> Any:
    if served.session:
        return outcome(False, "a weight-update session is already open; call end_weight_update() first")
    served.session = True
    return outcome(True)


@app.post("/end_weight_update")
async def end(obj: Annotated[io_struct.EndWeightUpdateReqInput, Body()]) -> Any:
    was, served.session = served.session, False
    return outcome(was, "no weight-update session is open")


@app.post("/update_weights_from_tensor")
async def update(obj: Annotated[io_struct.UpdateWeightsFromTensorReqInput, Body()], request: Request) -> Any:
    checked(type(obj), await request.json())
    if not served.session:
        return outcome(
            False, "update_weights_from_tensor must run between begin_weight_update() and end_weight_update()"
        )
    if served.fault == "slow":
        await asyncio.sleep(60)
    assert obj.load_format in served.args.custom_weight_loader
    named = MultiprocessingSerializer.deserialize(obj.serialized_named_tensors[0])
    await asyncio.to_thread(dynamic_import(obj.load_format), served.model, named)
    served.flushed += obj.flush_cache
    return outcome(True)


@app.post("/release_memory_occupation")
async def release(obj: Annotated[io_struct.ReleaseMemoryOccupationReqInput, Body()], request: Request) -> None:
    checked(type(obj), await request.json())
    served.asleep |= set(obj.tags)


@app.post("/resume_memory_occupation")
async def resume(obj: Annotated[io_struct.ResumeMemoryOccupationReqInput, Body()], request: Request) -> None:
    checked(type(obj), await request.json())
    for tag in obj.tags:
        served.asleep.remove(tag)


if __name__ == "__main__":
    args = prepare_server_args(sys.argv[1:])
    served = Served(args)
    if args.api_key:
        add_api_key_middleware(app, api_key=args.api_key, admin_api_key=None)
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning")
