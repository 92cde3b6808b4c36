/** The models of all servers: their state, what they use, and buttons that load and unload them. */

import { useEffect, useState } from "preact/hooks";
import { ApiError, ask, askJson, events, said } from "./api";

interface Job {
  action: string;
  status: string;
  phase?: string;
  seconds?: number;
  error?: { message: string } | string;
}

interface State {
  id: string;
  state: string;
  reason?: string;
  server: string;
  names: string[];
  requests_in_flight: number;
  job?: Job;
  usage?: Record<string, any>;
}

interface Gpu {
  uuid: string;
  memory_used_bytes?: number;
  memory_total_bytes?: number;
  utilization?: number;
}

interface Server {
  url: string;
  reachable: boolean;
  reason?: string;
  usage?: { gpus?: Gpu[] };
}

const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
const keyOf = (state: { server: string; id: string }) => `${state.server} ${state.id}`;

export function Models() {
  const [states, setStates] = useState<Map<string, State>>(new Map());
  const [usage, setUsage] = useState<Map<string, Record<string, any>>>(new Map());
  const [servers, setServers] = useState<Server[]>([]);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const stop = new AbortController();
    void watch(stop.signal, setStates, setProblem);
    const look = () =>
      askJson<{ data: State[]; servers: Server[] }>("v1/model/state", undefined, stop.signal).then(
        ({ data, servers }) => {
          setUsage(new Map(data.map((one) => [keyOf(one), one.usage ?? {}])));
          setServers(servers);
        },
        (error) => {
          // The stream of states reports what is wrong.
          if (error instanceof ApiError && [401, 403].includes(error.status)) clearInterval(timer);
        },
      );
    const timer = setInterval(look, 5000);
    void look();
    return () => {
      clearInterval(timer);
      stop.abort();
    };
  }, []);
  const change = (action: string, { id, server }: State) =>
    ask(`v1/model/${action}`, { model: id, server, wait: false }).then(
      () => setProblem(""),
      (error) => setProblem(said(error)),
    );
  return (
    <>
      {problem && <p role="alert" class="error">{problem}</p>}
      <div class="cards">
        {[...states.values()].sort((a, b) => a.id.localeCompare(b.id)).map((state) => (
          <article key={keyOf(state)} aria-label={state.id}>
            <h2>{state.id} <span class={`state ${state.state}`}>{state.state}</span></h2>
            <small>{state.server}</small>
            {state.reason && <p class={state.state === "failed" ? "error" : ""}>{state.reason}</p>}
            {state.job && <Progress job={state.job} />}
            <Usage state={state} usage={usage.get(keyOf(state)) ?? {}} />
            <div class="bar">
              <button type="button" disabled={isBusy(state)} onClick={() => change("load", state)}>
                {state.state === "ready" ? "Reload" : "Load"}
              </button>
              <button type="button" disabled={isBusy(state) || state.state === "unloaded"}
                onClick={() => change("unload", state)}>
                Unload
              </button>
            </div>
          </article>
        ))}
      </div>
      {servers.map((server) => <ServerLine key={server.url} server={server} />)}
    </>
  );
}

function ServerLine({ server }: { server: Server }) {
  return (
    <section class="server" aria-label={`Server ${server.url}`}>
      <p>
        Server {server.url} {server.reachable ? "answers" : <span class="error">does not answer: {server.reason}</span>}
      </p>
      {server.usage?.gpus?.map((gpu) => (
        <label key={gpu.uuid}>
          {gpu.uuid}: {gib(gpu.memory_used_bytes ?? 0)} of {gib(gpu.memory_total_bytes ?? 0)}
          {gpu.utilization !== undefined && `, ${(gpu.utilization * 100).toFixed(0)} % busy`}
          <meter min={0} max={gpu.memory_total_bytes ?? 0} value={gpu.memory_used_bytes ?? 0} />
        </label>
      ))}
    </section>
  );
}

const isBusy = (state: State) => state.job?.status === "running";

function Progress({ job }: { job: Job }) {
  const message = typeof job.error === "string" ? job.error : job.error?.message;
  if (job.status === "running") {
    return (
      <p role="status">
        <progress aria-label={job.action} /> {job.action}: {job.phase ?? "begins"}
      </p>
    );
  }
  return (
    <p role="status" class={message ? "error" : ""}>
      {job.action} {job.status}{job.seconds !== undefined && ` in ${job.seconds.toFixed(1)} s`}
      {message && `: ${message}`}
    </p>
  );
}

function Usage({ state, usage }: { state: State; usage: Record<string, any> }) {
  const rows: [string, string][] = [["open requests", String(state.requests_in_flight)]];
  const add = (key: string, text: string, show: (value: any) => string = String) => {
    if (usage[key] !== undefined) rows.push([text, show(usage[key])]);
  };
  const seconds = (value: { p50: number; p95: number }) =>
    `${(value.p50 * 1000).toFixed(1)} ms (95th percentile ${(value.p95 * 1000).toFixed(1)})`;
  add("requests", "requests");
  add("errors", "errors");
  add("first_token_seconds", "first token", seconds);
  add("between_tokens_seconds", "between tokens", seconds);
  add("queued", "queued");
  add("kv_cache_usage", "KV cache", (share: number) => `${(share * 100).toFixed(0)} %`);
  add("gpu_memory_bytes", "GPU memory", gib);
  add("rss_bytes", "memory", gib);
  add("cpus", "CPUs");
  return <dl>{rows.map(([name, value]) => [<dt key={name}>{name}</dt>, <dd key={`${name} value`}>{value}</dd>])}</dl>;
}

/** Follow the stream of states, and open it again when it ends. */
async function watch(
  signal: AbortSignal,
  set: (how: (now: Map<string, State>) => Map<string, State>) => void,
  report: (problem: string) => void,
): Promise<void> {
  while (!signal.aborted) {
    try {
      const answer = await ask("v1/model/watch", undefined, signal);
      set(() => new Map());
      report("");
      for await (const data of events(answer)) {
        const state: State = JSON.parse(data);
        set((now) => {
          const next = new Map(now);
          if (state.state === "absent") next.delete(keyOf(state));
          else next.set(keyOf(state), state);
          return next;
        });
      }
    } catch (error) {
      if (signal.aborted) return;
      report(said(error));
      if (error instanceof ApiError && [401, 403].includes(error.status)) return; // another key opens it again
    }
    await new Promise((resolve) => setTimeout(resolve, 3000));
  }
}
