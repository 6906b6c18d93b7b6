#!/usr/bin/env python3
"""PyTorch's side of `hardpan bench`: the same workloads by the same names, one JSON line a result.

Needs torch and numpy; torchvision for resnet50 and images, pillow for images, onnxruntime (optional) for inference.

    torch_peer.py NAME... [--threads N] [--secs S] [--compile] [--pictures FOLDER]
    torch_peer.py --list
    torch_peer.py --serve      requests as JSON lines on standard input, used by `hardpan bench --peer-python`
"""
import argparse, json, os, statistics, subprocess, sys, time, warnings

warnings.filterwarnings("ignore")
import torch
import torch.nn as nn
import torch.nn.functional as F


class Run:
    """How to measure; `emit` gets each result."""

    def __init__(self, name, threads, secs, words=(), compile=False, pictures=None, emit=None):
        self.name, self.threads, self.secs, self.words = name, threads, secs, list(words)
        self.compile, self.pictures = compile, pictures
        self.emit_line = emit or (lambda d: print(json.dumps(d), flush=True))

    def wants(self, variant):
        have = set(variant.split("+"))
        if not have & {"bf16", "u8"}:
            have.add("f32")
        return all(w in have for w in self.words)

    def emit(self, variant, metric, values, unit, system="torch", **more):
        values = sorted(values)
        self.emit_line(dict(workload=self.name, system=system, variant=variant, threads=self.threads, metric=metric,
                            value=statistics.median(values), unit=unit, min=values[0], max=values[-1], n=len(values), **more))

    def fail(self, variant, error):
        self.emit_line(dict(workload=self.name, system="torch", variant=variant, threads=self.threads, metric="failed",
                            value=0.0, unit="-", error=f"{type(error).__name__}: {str(error)[:200]}"))

    def time(self, variant, items, unit, fn, at_least=0.0, system="torch"):
        """Items a second: warm-up, then the median, lowest and highest of up to nine blocks."""
        if not self.wants(variant):
            return
        secs = max(self.secs, min(at_least, 4 * self.secs))
        t = time.perf_counter(); fn(); first = time.perf_counter() - t
        fn()
        t = time.perf_counter(); fn(); one = max(time.perf_counter() - t, 1e-7)
        if one < 0.15:
            n = max(1, int(0.15 / one))
            t = time.perf_counter()
            for _ in range(n): fn()
            one = max((time.perf_counter() - t) / n, 1e-7)
        calls = max(1, round(secs / 9 / one))
        blocks = 9 if calls > 1 else max(3, min(9, int(secs / one)))
        seconds, cpu, wall = [], time.process_time(), time.perf_counter()
        for _ in range(blocks):
            t = time.perf_counter()
            for _ in range(calls): fn()
            seconds.append((time.perf_counter() - t) / calls)
        util = (time.process_time() - cpu) / max(time.perf_counter() - wall, 1e-9)
        self.emit(variant, "throughput", [items / s for s in seconds], unit, system, ms=statistics.median(seconds) * 1e3,
                  calls=calls, cpu_util=util, first_step_s=first)

    def latency(self, variant, count, fn):
        if not self.wants(variant):
            return
        for _ in range(20): fn()
        values = []
        for _ in range(9):
            t = time.perf_counter()
            for _ in range(20): fn()
            values.append((time.perf_counter() - t) / 20 / count * 1e9)
        self.emit(variant, "latency", values, "ns/op")

    def infer(self, variant, items, unit, fn):
        with torch.inference_mode():
            self.time(variant, items, unit, fn)

    def variants(self, plain, compiled=()):
        return list(plain) + (list(compiled) if self.compile else [])

    def train(self, variants, items, unit, build, at_least=1.0):
        """`build(words)` gives a model and a function that computes its loss. Words choose precision, layout, optimizer."""
        for variant in variants:
            if not self.wants(variant):
                continue
            words = set(variant.split("+"))
            try:
                torch.manual_seed(0)
                if "compile" in words:
                    torch._dynamo.reset()
                model, loss_of = build(words)
                params = [p for p in model.parameters() if p.requires_grad]
                fused = "loop" not in words
                if "sgd" in words: opt = torch.optim.SGD(params, lr=1e-3, fused=fused)
                elif "adamw" in words: opt = torch.optim.AdamW(params, lr=1e-4, fused=fused)
                else: opt = torch.optim.Adam(params, lr=1e-4, fused=fused)
                f = torch.compile(loss_of) if "compile" in words else loss_of
                half = "bf16" in words

                def step():
                    opt.zero_grad(set_to_none=True)
                    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                        loss = f()
                    loss.backward()
                    opt.step()

                self.time(variant, items, unit, step, at_least)
            except Exception as e:
                self.fail(variant, e)


def dtype_of(variant):
    return torch.bfloat16 if variant.startswith("bf16") else torch.float32


# ---- matrix products and convolutions

def matmul(r, m, k, n):
    for v in ("f32", "bf16"):
        a, b = torch.randn(m, k).to(dtype_of(v)), torch.randn(k, n).to(dtype_of(v))
        out = torch.empty(m, n, dtype=dtype_of(v))
        r.infer(v, 2e-9 * m * k * n, "GFLOP/s", lambda: torch.mm(a, b, out=out))


def conv(r, both, batch, ci, size, co, k, stride):
    out = (size + 2 * (k // 2) - k) // stride + 1
    flops = 2e-9 * batch * co * out * out * ci * k * k
    for v in ("f32", "f32+cl", "bf16+cl"):
        x, w = torch.randn(batch, ci, size, size).to(dtype_of(v)), torch.randn(co, ci, k, k).to(dtype_of(v))
        if v.endswith("cl"):
            x, w = (t.to(memory_format=torch.channels_last) for t in (x, w))
        f = lambda: F.conv2d(x, w, stride=stride, padding=k // 2)
        if not both:
            r.infer(v, flops, "GFLOP/s", f)
            continue
        x.requires_grad_(ci > 1); w.requires_grad_()
        g = torch.randn_like(f().detach())

        def fb():
            x.grad = w.grad = None
            f().backward(g)
        r.time(v, flops * (3 if ci > 1 else 2), "GFLOP/s", fb)


# ---- memory-bound work

N = 16 << 20


def flat(r, bytes_each, make):
    x = torch.randn(N)
    fn = make(x)
    r.infer("eager", 1e-9 * bytes_each * N, "GB/s", fn)


def gelu_chain(r, both):
    x, a, b, c = torch.randn(N), torch.randn(1), torch.randn(1), torch.randn(1)
    chain = lambda x: F.gelu(x * a + b) + c
    for v in r.variants(["eager"], ["compile"]):
        f = torch.compile(chain) if v == "compile" else chain
        if not both:
            with torch.no_grad(): r.time(v, 8e-9 * N, "GB/s", lambda: f(x))
            continue
        xr, g = x.clone().requires_grad_(), torch.ones(N)

        def fb():
            xr.grad = None
            f(xr).backward(g)
        r.time(v, 20e-9 * N, "GB/s", fb)


def embedding(r):
    i, table = torch.randint(0, 10000, (64 * 256,)), torch.randn(10000, 384)
    r.infer("eager", 8e-9 * 64 * 256 * 384, "GB/s", lambda: F.embedding(i, table))


def rows(r, what, both):
    R, C = 4096, 1024
    x, g = torch.randn(R, C), torch.randn(R, C)
    w, b = torch.ones(C, requires_grad=True), torch.zeros(C, requires_grad=True)
    target = torch.randint(0, C, (R,))
    f = {"softmax": lambda x: F.softmax(x, -1), "layernorm": lambda x: F.layer_norm(x, (C,), w, b),
         "cross_entropy": lambda x: F.cross_entropy(x, target)}[what]
    for v in r.variants(["eager"], ["compile"]):
        h = torch.compile(f) if v == "compile" else f
        if not both:
            with torch.no_grad(): r.time(v, 8e-9 * R * C, "GB/s", lambda: h(x))
            continue
        xr = x.clone().requires_grad_()

        def fb():
            xr.grad = w.grad = b.grad = None
            y = h(xr)
            y.backward() if what == "cross_entropy" else y.backward(g)
        r.time(v, (8e-9 if what == "cross_entropy" else 20e-9) * R * C, "GB/s", fb)


# ---- one operation on hardly any data

def overhead(r, what):
    one, k = torch.ones(1), 100
    if what == "mul":
        x = torch.ones(1, requires_grad=True)

        def f():
            z = x
            for _ in range(k): z = z * one
            z.backward()
        return r.latency("eager", k, f)
    layer, x, a = nn.Linear(10, 10), torch.randn(1, 10), torch.randn(8, 8)

    def add():
        z = one
        for _ in range(k): z = z + one

    def linear():
        z = x
        for _ in range(k): z = layer(z)

    def mm():
        for _ in range(k): a @ a
    with torch.inference_mode():
        r.latency("eager", k, {"add": add, "linear": linear, "mm": mm}[what])


# ---- fully connected and convolutional networks

def make_mlp(sizes):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def mlp(r, sizes, bs):
    def build(words):
        m, x, y = make_mlp(sizes), torch.randn(bs, 784), torch.randint(0, 10, (bs,))
        return m, lambda: F.cross_entropy(m(x), y)
    r.train(r.variants(["eager+sgd", "eager+loop+sgd", "eager+adam", "eager+loop+adam", "eager+bf16+adam"],
                       ["compile+sgd", "compile+adam", "compile+bf16+adam"]), bs, "samples/s", build)


def one_item(r, model, x, unit="samples/s"):
    model.eval()
    r.infer("eager", len(x), unit, lambda: model(x))
    onnx(r, model, x, unit)


def onnx(r, model, x, unit):
    """The same model in onnxruntime, where that is installed."""
    if not r.wants("ort"):
        return
    try:
        import io, onnxruntime as ort
        file = io.BytesIO()
        torch.onnx.export(model, (x,), file, dynamo=False, input_names=["x"])
        options = ort.SessionOptions(); options.intra_op_num_threads = r.threads
        session = ort.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
        feed = {"x": x.numpy()}
        r.time("ort", len(x), unit, lambda: session.run(None, feed), system="onnxruntime")
    except ImportError:
        pass
    except Exception as e:
        r.fail("ort", e)


def make_cnn():
    layers, sizes = [], [1, 8, 16, 32, 64]
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        k = 3 if i else 5
        layers += [nn.Conv2d(a, b, k, stride=2, padding=k // 2, bias=False), nn.ReLU(), nn.BatchNorm2d(b)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def picture_net(make, x, y, words):
    m = make()
    if "cl" in words:
        m, x = m.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    return m, lambda: F.cross_entropy(m(x), y)


def cnn(r, bs):
    build = lambda words: picture_net(make_cnn, torch.randn(bs, 1, 28, 28), torch.randint(0, 10, (bs,)), words)
    r.train(r.variants(["eager+sgd", "eager+cl+sgd", "eager+adam", "eager+cl+adam", "eager+bf16+sgd", "eager+bf16+cl+sgd"],
                       ["compile+sgd", "compile+cl+sgd", "compile+bf16+cl+sgd"]), bs, "images/s", build)


# ---- residual networks

def conv_bn(ni, nf, k=3, stride=1, act=True):
    layers = [nn.Conv2d(ni, nf, k, stride=stride, padding=k // 2, bias=False), nn.BatchNorm2d(nf)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if act else []))


class XBlock(nn.Module):
    def __init__(self, ni, nf, stride):
        super().__init__()
        self.body = nn.Sequential(conv_bn(ni, nf, 3, stride), conv_bn(nf, nf, 3, 1, act=False))
        self.skip = nn.Identity() if stride == 1 else nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), conv_bn(ni, nf, 1, 1, act=False))

    def forward(self, x):
        return F.relu(self.body(x) + self.skip(x), inplace=True)


def xresnet18():
    """Layer for layer what fastai.vision.models.xresnet.xresnet18(n_out=10) is."""
    net, ni = [conv_bn(3, 32, 3, 2), conv_bn(32, 32), conv_bn(32, 64), nn.MaxPool2d(3, 2, 1)], 64
    for stage, nf in enumerate((64, 128, 256, 512)):
        for block in range(2):
            net.append(XBlock(ni, nf, 2 if stage and not block else 1)); ni = nf
    return nn.Sequential(*net, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def resnet50():
    import torchvision
    return torchvision.models.resnet50(num_classes=10)


def residual_train(r, make, px):
    bs = 32
    build = lambda words: picture_net(make, torch.randn(bs, 3, px, px), torch.randint(0, 10, (bs,)), words)
    r.train(r.variants(["eager+sgd", "eager+cl+sgd", "eager+bf16+cl+sgd"], ["compile+cl+sgd"]), bs, "images/s", build)


def residual_infer(r, make, px, bs):
    torch.manual_seed(0)
    for v in ("eager", "eager+cl", "bf16+cl"):
        m, x = make().eval(), torch.randn(bs, 3, px, px)
        if v.endswith("cl"): m, x = m.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
        if v.startswith("bf16"): m, x = m.bfloat16(), x.bfloat16()
        r.infer(v, bs, "images/s", lambda: m(x))
    onnx(r, make().eval(), torch.randn(bs, 3, px, px), "images/s")


# ---- language

class AwdLstm(nn.Module):
    """fastai's AWD-LSTM language model with its default sizes and dropouts."""

    def __init__(self, vocab=10000, emb=400, hid=1152):
        super().__init__()
        self.encoder = nn.Embedding(vocab, emb, padding_idx=1)
        self.rnns = nn.ModuleList(nn.LSTM(a, b, 1, batch_first=True) for a, b in ((emb, hid), (hid, hid), (hid, emb)))
        self.raw = nn.ParameterList()
        for rnn in self.rnns:
            w = rnn.weight_hh_l0
            del rnn._parameters["weight_hh_l0"]
            self.raw.append(nn.Parameter(w.data)); rnn.weight_hh_l0 = w.data.clone()
            rnn.flatten_parameters = lambda: None
        self.bias = nn.Parameter(torch.zeros(vocab))
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        self.hidden = None

    def same(self, x, p):
        if not self.training: return x
        return x * x.new_empty(x.size(0), 1, x.size(2)).bernoulli_(1 - p).div_(1 - p)

    def forward(self, tokens):
        table = self.encoder.weight
        if self.training: table = table * table.new_empty(table.size(0), 1).bernoulli_(0.98).div_(0.98)
        x = self.same(F.embedding(tokens, table, 1), 0.25)
        hidden = []
        for i, (rnn, raw) in enumerate(zip(self.rnns, self.raw)):
            rnn.weight_hh_l0 = F.dropout(raw, 0.2, self.training)
            x, h = rnn(x, self.hidden[i] if self.hidden else None)
            hidden.append(tuple(t.detach() for t in h))
            if i < 2: x = self.same(x, 0.15)
        self.hidden = hidden
        dropped = self.same(x, 0.1)
        return F.linear(dropped, self.encoder.weight, self.bias), x, dropped


def awd_lstm_train(r):
    B, T, V = 32, 70, 10000

    def build(words):
        m, x, y = AwdLstm(V), torch.randint(0, V, (B, T)), torch.randint(0, V, (B * T,))

        def loss():
            out, raw, drop = m(x)
            ar, tar = drop.float().pow(2).mean(), (raw[:, 1:] - raw[:, :-1]).float().pow(2).mean()
            return F.cross_entropy(out.view(-1, V), y) + 2 * ar + tar
        return m, loss
    r.train(["eager+adam", "eager+bf16+adam"], B * T, "tokens/s", build)


def awd_lstm_generate(r):
    m, x = AwdLstm().eval(), torch.zeros(1, 1, dtype=torch.long)
    with torch.no_grad(): r.time("eager", 1, "tokens/s", lambda: m(x))


class Gpt(nn.Module):
    def __init__(self, vocab=65, layers=6, heads=6, d=384, context=256, p=0.0):
        super().__init__()
        self.heads, self.d, self.context, self.p = heads, d, context, p
        self.wte, self.wpe, self.lnf = nn.Embedding(vocab, d), nn.Embedding(context, d), nn.LayerNorm(d)
        lin = lambda a, b: nn.Linear(a, b, bias=False)
        self.blocks = nn.ModuleList(nn.ModuleDict(dict(ln1=nn.LayerNorm(d), qkv=lin(d, 3 * d), o=lin(d, d), ln2=nn.LayerNorm(d),
                                                       up=lin(d, 4 * d), down=lin(4 * d, d))) for _ in range(layers))
        for p in self.parameters():
            if p.dim() > 1: nn.init.normal_(p, 0, 0.02)

    def forward(self, tokens):
        B, T = tokens.shape
        p = self.p if self.training else 0.0
        x = F.dropout(self.wte(tokens) + self.wpe.weight[:T], p)
        for b in self.blocks:
            q, k, v = (t.view(B, T, self.heads, -1).transpose(1, 2) for t in b["qkv"](b["ln1"](x)).split(self.d, 2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=p)
            x = x + F.dropout(b["o"](y.transpose(1, 2).reshape(B, T, self.d)), p)
            x = x + F.dropout(b["down"](F.gelu(b["up"](b["ln2"](x)))), p)
        return F.linear(self.lnf(x), self.wte.weight)

    def cache(self, B, dtype):
        return [torch.zeros(2, B, self.heads, self.context, self.d // self.heads, dtype=dtype) for _ in self.blocks]

    def step(self, tokens, t, cache):
        B = len(tokens)
        x = self.wte(tokens) + self.wpe.weight[t]
        for b, c in zip(self.blocks, cache):
            q, k, v = b["qkv"](b["ln1"](x)).view(B, 3, self.heads, 1, -1).unbind(1)
            c[0, :, :, t], c[1, :, :, t] = k[:, :, 0], v[:, :, 0]
            y = F.scaled_dot_product_attention(q, c[0, :, :, :t + 1], c[1, :, :, :t + 1])
            x = x + b["o"](y.reshape(B, self.d))
            x = x + b["down"](F.gelu(b["up"](b["ln2"](x))))
        return F.linear(self.lnf(x), self.wte.weight).argmax(-1)


def gpt_train(r):
    B, T = 16, 256

    def build(words):
        m = Gpt(p=0.2 if "drop" in words else 0.0)
        x, y = torch.randint(0, 65, (B, T)), torch.randint(0, 65, (B * T,))
        return m, lambda: F.cross_entropy(m(x).view(-1, 65), y)
    r.train(r.variants(["eager+adamw", "eager+adamw+drop", "eager+bf16+adamw", "eager+bf16+adamw+drop"],
                       ["compile+adamw", "compile+bf16+adamw"]), B * T, "tokens/s", build)


def gpt_generate(r, B):
    for v in ("eager", "bf16"):
        m = Gpt().eval().to(dtype_of(v))
        with torch.no_grad():
            cache = m.cache(B, dtype_of(v))

            def generate():
                tokens = torch.zeros(B, dtype=torch.long)
                for t in range(255): tokens = m.step(tokens, t, cache)
            r.time(v, 255 * B, "tokens/s", generate, 1.0)


class Seq2Seq(nn.Module):
    def __init__(self, vocab=8000, d=256):
        super().__init__()
        self.source, self.target, self.out = nn.Embedding(vocab, d), nn.Embedding(vocab, d), nn.Linear(d, vocab)
        self.transformer = nn.Transformer(d, 4, 3, 3, 4 * d, dropout=0.1, batch_first=True)
        self.register_buffer("positions", torch.randn(64, d) * 0.02)

    def forward(self, a, b):
        mask = nn.Transformer.generate_square_subsequent_mask(b.shape[1])
        a, b = self.source(a) + self.positions[:a.shape[1]], self.target(b) + self.positions[:b.shape[1]]
        return self.out(self.transformer(a, b, tgt_mask=mask, tgt_is_causal=True))


def seq2seq(r):
    B, T, V = 64, 40, 8000

    def build(words):
        m = Seq2Seq(V)
        a, b, y = torch.randint(0, V, (B, T)), torch.randint(0, V, (B, T)), torch.randint(0, V, (B * T,))
        return m, lambda: F.cross_entropy(m(a, b).view(-1, V), y, label_smoothing=0.1)
    r.train(r.variants(["eager+adam", "eager+bf16+adam"], ["compile+adam", "compile+bf16+adam"]), B * T, "tokens/s", build)


# ---- tables

CATEGORIES = [9, 16, 7, 15, 6, 5, 2, 42]


class Tabular(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = [(n + 1, min(600, round(1.6 * (n + 1) ** 0.56))) for n in CATEGORIES]
        self.embeds = nn.ModuleList(nn.Embedding(*s) for s in sizes)
        self.bn_cont = nn.BatchNorm1d(6)
        ni, layers = 6 + sum(s for _, s in sizes), []
        for nf in (200, 100):
            layers += [nn.Linear(ni, nf, bias=False), nn.ReLU(inplace=True), nn.BatchNorm1d(nf)]; ni = nf
        self.layers = nn.Sequential(*layers, nn.Linear(ni, 2))

    def forward(self, c, x):
        return self.layers(torch.cat([e(c[:, i]) for i, e in enumerate(self.embeds)] + [self.bn_cont(x)], 1))


class DotBias(nn.Module):
    def __init__(self, factors=50, users=944, items=1683):
        super().__init__()
        self.u, self.i, self.ub, self.ib = nn.Embedding(users, factors), nn.Embedding(items, factors), nn.Embedding(users, 1), nn.Embedding(items, 1)

    def forward(self, x):
        u, i = x[:, 0], x[:, 1]
        return torch.sigmoid((self.u(u) * self.i(i)).sum(1) + self.ub(u).squeeze() + self.ib(i).squeeze()) * 5.5


TABLE_VARIANTS = (["eager+adam", "eager+loop+adam"], ["compile+adam"])


def tabular(r, bs):
    def build(words):
        m, y = Tabular(), torch.randint(0, 2, (bs,))
        c, x = torch.stack([torch.randint(0, n, (bs,)) for n in CATEGORIES], 1), torch.randn(bs, 6)
        return m, lambda: F.cross_entropy(m(c, x), y)
    r.train(r.variants(*TABLE_VARIANTS), bs, "samples/s", build)


def collab(r, bs):
    def build(words):
        m, y = DotBias(), torch.rand(bs) * 5
        x = torch.stack([torch.randint(0, 944, (bs,)), torch.randint(0, 1683, (bs,))], 1)
        return m, lambda: F.mse_loss(m(x), y)
    r.train(r.variants(*TABLE_VARIANTS), bs, "samples/s", build)


# ---- images

def picture_files(r):
    return sorted(os.path.join(r.pictures, f) for f in os.listdir(r.pictures))


class one_thread:
    def __enter__(self): self.n = torch.get_num_threads(); torch.set_num_threads(1)
    def __exit__(self, *_): torch.set_num_threads(self.n)


def jpeg_decode(r):
    import io
    from PIL import Image
    from torchvision.io import decode_jpeg
    raw = [open(f, "rb").read() for f in picture_files(r)[:3]]
    at = [0]

    def following():
        at[0] += 1
        return raw[at[0] % len(raw)]
    with one_thread():
        r.time("PIL+u8", 1, "images/s", lambda: Image.open(io.BytesIO(following())).convert("RGB").load())
        r.time("torchvision+u8", 1, "images/s", lambda: decode_jpeg(torch.frombuffer(bytearray(following()), dtype=torch.uint8)))


def resize(r):
    from PIL import Image
    import numpy as np
    import torchvision.transforms.v2.functional as T
    image = Image.open(picture_files(r)[0]).convert("RGB")
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    with one_thread():
        r.time("PIL+u8", 1, "images/s", lambda: image.resize((341, 256), Image.BILINEAR))
        r.time("torchvision+u8", 1, "images/s", lambda: T.resize(tensor, [256, 341], antialias=True))


class Pictures(torch.utils.data.Dataset):
    def __init__(self, files, transform): self.files, self.transform = files, transform
    def __len__(self): return len(self.files)

    def __getitem__(self, i):
        from torchvision.io import ImageReadMode, decode_jpeg, read_file
        return self.transform(decode_jpeg(read_file(self.files[i]), mode=ImageReadMode.RGB)), 0


def imgload(r):
    import torchvision.transforms.v2 as T
    files = picture_files(r)
    transform = T.Compose([T.Resize(256, antialias=True), T.RandomCrop(224), T.RandomHorizontalFlip(),
                           T.ToDtype(torch.float32, scale=True), T.Normalize([.485, .456, .406], [.229, .224, .225])])
    with one_thread():
        for workers in (0, r.threads):
            loader = torch.utils.data.DataLoader(Pictures(files, transform), 32, shuffle=True, num_workers=workers,
                                                 persistent_workers=workers > 0)

            def epoch():
                for _ in loader: pass
            r.time(f"torchvision+{workers}workers", len(files), "images/s", epoch)


# ---- whole processes: this script called again

def fresh(r, name, runs):
    seconds, memory = [], []
    for _ in range(runs):
        start = time.perf_counter()
        child = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--child", name, "--threads", str(r.threads)],
                                 stdout=subprocess.PIPE, text=True)
        memory.append(float(child.stdout.readline()))
        seconds.append(time.perf_counter() - start)
        child.wait()
    if name.startswith("first_step"): r.emit("eager+adam", "time", seconds, "s")
    else: r.emit("eager+adam", "peak_rss", memory, "MiB")


def child(name):
    import resource
    digits = lambda n: (torch.randn(n, 784), 10)
    small = lambda n: (torch.randn(n, 1, 28, 28), 10)
    big = lambda: (torch.randn(32, 3, 128, 128), 10)
    make, data = {
        "first_step_cnn_b64": (make_cnn, lambda: small(64)),
        "rss_mlp_50_b64": (lambda: make_mlp([784, 50, 10]), lambda: digits(64)),
        "rss_mlp_512_b512": (lambda: make_mlp([784, 512, 512, 10]), lambda: digits(512)),
        "rss_cnn_b64": (make_cnn, lambda: small(64)), "rss_cnn_b512": (make_cnn, lambda: small(512)),
        "rss_xresnet18_128px_b32": (xresnet18, big), "rss_resnet50_128px_b32": (resnet50, big),
        "rss_gpt_6x384_b16_t256": (Gpt, lambda: (torch.randint(0, 65, (16, 256)), 65)),
    }[name]
    model, (x, classes) = make(), data()
    opt = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    for _ in range(1 if name.startswith("first_step") else 5):
        out = model(x).view(-1, classes)
        loss = F.cross_entropy(out, torch.zeros(len(out), dtype=torch.long))
        opt.zero_grad(); loss.backward(); opt.step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)


# ---- names

def table():
    w = {}
    for n in (64, 256, 1024, 2048): w[f"matmul_{n}"] = lambda r, n=n: matmul(r, n, n, n)
    for m, k, n in ((64, 784, 50), (512, 784, 512), (4096, 384, 1536)):
        w[f"matmul_{m}x{k}x{n}"] = lambda r, s=(m, k, n): matmul(r, *s)
    for name, s in {"conv_b64_1x28_8_k5s2": (64, 1, 28, 8, 5, 2), "conv_b32_64x32_64_k3": (32, 64, 32, 64, 3, 1),
                    "conv_b32_256x8_256_k3": (32, 256, 8, 256, 3, 1)}.items():
        w[name + "_fwd"] = lambda r, s=s: conv(r, False, *s)
        w[name + "_fwdbwd"] = lambda r, s=s: conv(r, True, *s)
    w["gelu_chain_16M"] = lambda r: gelu_chain(r, False)
    w["gelu_chain_16M_fwdbwd"] = lambda r: gelu_chain(r, True)

    def into(f):
        def make(x):
            y = torch.empty_like(x)
            return lambda: f(x, y)
        return make
    w["copy_16M"] = lambda r: flat(r, 8, into(lambda x, y: y.copy_(x)))
    w["clone_16M"] = lambda r: flat(r, 8, lambda x: lambda: x.clone())
    w["sum_16M"] = lambda r: flat(r, 4, lambda x: lambda: x.sum())
    w["add_16M"] = lambda r: flat(r, 12, into(lambda x, y: x + y))
    w["add_out_16M"] = lambda r: flat(r, 12, into(lambda x, y: torch.add(x, y, out=y)))
    w["exp_16M"] = lambda r: flat(r, 8, into(lambda x, y: torch.exp(x, out=y)))
    w["sum_dim0_4096x4096"] = lambda r: flat(r, 4, lambda x: lambda: x.view(4096, 4096).sum(0))
    w["transpose_4096"] = lambda r: flat(r, 8, lambda x: lambda: x.view(4096, 4096).t().contiguous())

    def randn(r):
        y = torch.empty(N)
        r.infer("eager", 1e-6 * N, "Msample/s", lambda: y.normal_())
    w["randn_16M"] = randn
    w["dropout_16M"] = lambda r: flat(r, 8, lambda x: lambda: F.dropout(x, 0.1))
    w["embedding_16k_rows_384"] = embedding
    for what in ("softmax", "layernorm"): w[f"{what}_4096x1024_fwd"] = lambda r, k=what: rows(r, k, False)
    for what in ("softmax", "layernorm", "cross_entropy"): w[f"{what}_4096x1024_fwdbwd"] = lambda r, k=what: rows(r, k, True)
    for name, what in (("add", "add"), ("mul_fwdbwd", "mul"), ("linear10_module", "linear"), ("mm8", "mm")):
        w[f"op_overhead_{name}"] = lambda r, k=what: overhead(r, k)
    for name, sizes in (("mlp_50", [784, 50, 10]), ("mlp_512", [784, 512, 512, 10])):
        for bs in (64, 512): w[f"{name}_b{bs}"] = lambda r, s=sizes, bs=bs: mlp(r, s, bs)
        w[f"{name}_infer_b1"] = lambda r, s=sizes: one_item(r, make_mlp(s), torch.randn(1, 784))
    for bs in (64, 512): w[f"cnn_b{bs}"] = lambda r, bs=bs: cnn(r, bs)
    for bs in (1, 64): w[f"cnn_infer_b{bs}"] = lambda r, bs=bs: one_item(r, make_cnn(), torch.randn(bs, 1, 28, 28), "images/s")
    for name, make in (("xresnet18", xresnet18), ("resnet50", resnet50)):
        for px in (64, 128):
            w[f"{name}_{px}px_b32_train"] = lambda r, m=make, px=px: residual_train(r, m, px)
            for bs in (32, 1): w[f"{name}_{px}px_b{bs}_infer"] = lambda r, m=make, px=px, bs=bs: residual_infer(r, m, px, bs)
    w["awdlstm_b32_t70"], w["awdlstm_generate_b1"] = awd_lstm_train, awd_lstm_generate
    w["gpt_6x384_b16_t256"] = gpt_train
    for bs in (1, 16): w[f"gpt_generate_b{bs}"] = lambda r, bs=bs: gpt_generate(r, bs)
    w["seq2seq_256x3x3_b64_t40"] = seq2seq
    for bs in (64, 1024): w[f"tabular_b{bs}"] = lambda r, bs=bs: tabular(r, bs)
    for bs in (64, 512): w[f"collab_b{bs}"] = lambda r, bs=bs: collab(r, bs)
    w["jpeg_decode_500x375"], w["resize_to_256"], w["imgload_224_b32"] = jpeg_decode, resize, imgload
    w["first_step_cnn_b64"] = lambda r: fresh(r, "first_step_cnn_b64", 2)
    for name in ("mlp_50_b64", "mlp_512_b512", "cnn_b64", "cnn_b512", "xresnet18_128px_b32", "resnet50_128px_b32", "gpt_6x384_b16_t256"):
        w[f"rss_{name}"] = lambda r, n=f"rss_{name}": fresh(r, n, 1)
    return w


def perform(workloads, run):
    torch.set_num_threads(run.threads); torch.manual_seed(0)
    try:
        workloads[run.name](run)
    except Exception as e:
        run.fail("eager", e)


def serve(pictures):
    workloads, out = table(), sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no result
    say = lambda d: (out.write(json.dumps(d) + "\n"), out.flush())
    versions = [f"Python {sys.version.split()[0]}", f"torch {torch.__version__}"]
    for name in ("torchvision", "onnxruntime"):
        try: versions.append(f"{name} {__import__('importlib.metadata').metadata.version(name)}")
        except Exception: pass
    say({"ready": ", ".join(versions)})
    for line in sys.stdin:
        q = json.loads(line)
        if q.get("quit"): return
        if q["workload"] in workloads:
            perform(workloads, Run(q["workload"], q["threads"], q["secs"], q["words"], q["compile"], pictures, say))
        say({"done": q["workload"]})


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="*")
    ap.add_argument("--threads", type=int, default=torch.get_num_threads()); ap.add_argument("--secs", type=float, default=1.0)
    ap.add_argument("--compile", action="store_true"); ap.add_argument("--pictures")
    ap.add_argument("--list", action="store_true"); ap.add_argument("--serve", action="store_true"); ap.add_argument("--child")
    a = ap.parse_args()
    if a.child:
        torch.set_num_threads(a.threads); child(a.child)
    elif a.serve: serve(a.pictures)
    elif a.list: print("\n".join(table()))
    else:
        known = table()
        for name in a.names or known:
            if name not in known: sys.exit(f"no workload is named {name}; --list names all")
            perform(known, Run(name, a.threads, a.secs, compile=a.compile, pictures=a.pictures))
