/** The gateway's metrics, read every two seconds: rates of the last interval and their history. */

import { useEffect, useState } from "preact/hooks";
import { ask, said } from "./api";
import { byModel, quantile, type Sample, samplesOf } from "./prometheus";

const SECONDS = 2;
const KEPT = 150; // five minutes
const FIRST = "gen_ai_server_time_to_first_token_seconds";
const PER_TOKEN = "gen_ai_server_time_per_output_token_seconds";
const USAGE = "gen_ai_client_token_usage_total";

interface Look {
  at: number;
  samples: Sample[];
}

interface Row {
  model: string;
  requests: number;
  tokens: number;
  first: number | null;
  each: number | null;
  errors: number;
}

export function Live() {
  const [looks, setLooks] = useState<Look[]>([]);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const stop = new AbortController();
    const look = async () => {
      if (document.hidden) return;
      try {
        const page = await (await ask("metrics", undefined, stop.signal)).text();
        setLooks((now) => [...now, { at: performance.now(), samples: samplesOf(page) }].slice(-KEPT));
        setProblem("");
      } catch (error) {
        if (!stop.signal.aborted) setProblem(said(error));
      }
    };
    void look();
    const timer = setInterval(look, SECONDS * 1000);
    return () => {
      clearInterval(timer);
      stop.abort();
    };
  }, []);
  const last = looks.at(-1);
  const open = last?.samples.find(({ name }) => name === "trtbuild_gateway_requests_in_flight")?.value ?? 0;
  return (
    <>
      {problem && <p role="alert" class="error">{problem}</p>}
      <p>{open} open requests. Rates are of the last minute, times are medians of it.</p>
      <table>
        <thead>
          <tr>
            <th scope="col">Model</th><th scope="col">Requests/s</th><th scope="col">Tokens/s</th>
            <th scope="col">First token</th><th scope="col">Between tokens</th><th scope="col">Errors</th>
            <th scope="col">Tokens/s, five minutes</th>
          </tr>
        </thead>
        <tbody>
          {rowsOf(looks).map((row) => (
            <tr key={row.model}>
              <th scope="row">{row.model}</th>
              <td>{row.requests.toFixed(2)}</td>
              <td>{row.tokens.toFixed(1)}</td>
              <td>{ms(row.first)}</td>
              <td>{ms(row.each)}</td>
              <td>{row.errors}</td>
              <td><Curve values={history(looks, row.model)} label={`Tokens per second of ${row.model}`} /></td>
            </tr>
          ))}
        </tbody>
      </table>
      {last && !rowsOf(looks).length && <p>No model has been asked yet.</p>}
    </>
  );
}

const ms = (seconds: number | null) => (seconds === null ? "–" : `${(seconds * 1000).toFixed(seconds < 0.1 ? 1 : 0)} ms`);

function rowsOf(looks: Look[]): Row[] {
  const last = looks.at(-1);
  if (!last) return [];
  const since = looks.find(({ at }) => last.at - at <= 60_000)!;
  const span = Math.max((last.at - since.at) / 1000, SECONDS);
  const grown = (name: string, where?: Record<string, string>) => {
    const before = byModel(since.samples, name, where);
    return new Map([...byModel(last.samples, name, where)].map(([model, sum]) => [model, sum - (before.get(model) ?? 0)]));
  };
  const answered = grown("trtbuild_gateway_requests_total");
  const fine = grown("trtbuild_gateway_requests_total", { error: "" });
  const tokens = grown(USAGE, { gen_ai_token_type: "output" });
  return [...answered.keys()].sort().map((model) => ({
    model,
    requests: answered.get(model)! / span,
    tokens: (tokens.get(model) ?? 0) / span,
    first: quantile(0.5, last.samples, since.samples, FIRST, model),
    each: quantile(0.5, last.samples, since.samples, PER_TOKEN, model),
    errors: answered.get(model)! - (fine.get(model) ?? 0),
  }));
}

function history(looks: Look[], model: string): number[] {
  const sums = looks.map(({ samples }) => byModel(samples, USAGE, { gen_ai_token_type: "output" }).get(model) ?? 0);
  return sums.slice(1).map((sum, i) => Math.max(0, sum - sums[i]!) / ((looks[i + 1]!.at - looks[i]!.at) / 1000));
}

function Curve({ values, label }: { values: number[]; label: string }) {
  const most = Math.max(1, ...values);
  const points = values.map((value, i) => `${(i * 160) / (KEPT - 1)},${38 - (36 * value) / most}`).join(" ");
  return (
    <svg viewBox="0 0 160 40" class="curve" role="img" aria-label={`${label}, at most ${most.toFixed(1)}`}>
      <polyline points={points} />
    </svg>
  );
}
