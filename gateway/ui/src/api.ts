/** Requests to the port that served the page. */

/** What the gateway says about an error. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const KEY = "trtbuild-key";
const LIMIT = "x-ratelimit-";

/** The port that served the page: `data` or `control`. */
export const port = document.documentElement.dataset.port;

export const readKey = (): string => sessionStorage.getItem(KEY) ?? "";
export const keepKey = (key: string): void => sessionStorage.setItem(KEY, key);

export type Limits = Record<string, string>;
let tellLimits: (limits: Limits) => void = () => {};

/** Have the limits of the key reported after each answer that names them. */
export function onLimits(tell: (limits: Limits) => void): void {
  tellLimits = tell;
}

/** Ask the gateway; the path is relative to the gateway's root, whatever proxy is in front. */
export async function ask(path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const key = readKey();
  const headers: Record<string, string> = key ? { authorization: `Bearer ${key}` } : {};
  if (body !== undefined) headers["content-type"] = "application/json";
  const init = body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) };
  let answer: Response;
  try {
    answer = await fetch(`../${path}`, { ...init, signal: signal ?? null });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, "the gateway does not answer; see whether it still runs");
  }
  const limits = limitsOf(answer.headers);
  if (Object.keys(limits).length) tellLimits(limits);
  if (!answer.ok) throw new ApiError(answer.status, await reasonOf(answer));
  return answer;
}

/** Return an answer's JSON. */
export async function askJson<T>(path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  return (await (await ask(path, body, signal)).json()) as T;
}

/** Yield the data of each server-sent event until the stream ends or says `[DONE]`. */
export async function* events(answer: Response): AsyncGenerator<string> {
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") return;
        yield data;
      }
    }
  } finally {
    await reader.cancel();
  }
}

function limitsOf(headers: Headers): Limits {
  const found: Limits = {};
  headers.forEach((value, name) => {
    if (name.startsWith(LIMIT)) found[name.slice(LIMIT.length)] = value;
  });
  return found;
}

async function reasonOf(answer: Response): Promise<string> {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `the answer is ${answer.status} ${answer.statusText}`;
  }
}

export const said = (error: unknown): string => (error instanceof Error ? error.message : String(error));
