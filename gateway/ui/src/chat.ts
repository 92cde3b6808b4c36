/** One answer of a model, while it arrives. */

import { ApiError, ask, askJson, events } from "./api";

export type Part =
  | { type: "text"; text: string }
  | { type: "image_url"; image_url: { url: string } };

export interface ToolCall {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
}

export interface Message {
  role: "system" | "user" | "assistant" | "tool";
  content: string | Part[];
  tool_calls?: ToolCall[];
  tool_call_id?: string;
}

export interface Answer {
  text: string;
  reasoning: string;
  calls: ToolCall[];
  error: string;
  reason: string;
  firstMs: number;
  totalMs: number;
  tokens: number;
  done: boolean;
}

export interface Options {
  model: string;
  system: string;
  temperature: string;
  maxTokens: string;
  tools: unknown[];
}

interface Delta {
  content?: string | null;
  reasoning_content?: string | null;
  reasoning?: string | null;
  tool_calls?: (Partial<ToolCall> & { index: number })[];
}

export const nothingYet = (): Answer => ({
  text: "", reasoning: "", calls: [], error: "", reason: "",
  firstMs: 0, totalMs: 0, tokens: 0, done: false,
});

/** Return the request's body. */
export function bodyOf(options: Options, history: Message[]): Record<string, unknown> {
  const messages = options.system
    ? [{ role: "system", content: options.system } as Message, ...history]
    : history;
  return {
    model: options.model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
    ...(options.temperature && { temperature: Number(options.temperature) }),
    ...(options.maxTokens && { max_tokens: Number(options.maxTokens) }),
    ...(options.tools.length && { tools: options.tools }),
  };
}

/** Ask a model, and tell after each event what has arrived. Errors are part of the answer. */
export async function chat(
  options: Options,
  history: Message[],
  signal: AbortSignal,
  tell: (answer: Answer) => void,
): Promise<Answer> {
  const began = performance.now();
  const answer = nothingYet();
  try {
    for await (const data of events(await ask("v1/chat/completions", bodyOf(options, history), signal))) {
      take(answer, JSON.parse(data), performance.now() - began);
      tell({ ...answer });
    }
    if (!answer.reason && !answer.error) answer.error = "the stream ended before the answer was complete";
  } catch (error) {
    answer.error = signal.aborted ? "" : error instanceof Error ? error.message : String(error);
    if (signal.aborted) answer.reason = "stopped";
  }
  answer.totalMs = performance.now() - began;
  answer.done = true;
  tell({ ...answer });
  return answer;
}

function take(answer: Answer, event: any, ms: number): void {
  if (event.error) throw new ApiError(0, event.error.message);
  if (event.usage) answer.tokens = event.usage.completion_tokens;
  const choice = event.choices?.[0];
  if (!choice) return;
  const delta: Delta = choice.delta ?? {};
  const thought = delta.reasoning_content ?? delta.reasoning ?? "";
  if (!answer.firstMs && (delta.content || thought || delta.tool_calls)) answer.firstMs = ms;
  answer.text += delta.content ?? "";
  answer.reasoning += thought;
  for (const piece of delta.tool_calls ?? []) {
    const call = (answer.calls[piece.index] ??= {
      id: "", type: "function", function: { name: "", arguments: "" },
    });
    call.id ||= piece.id ?? "";
    call.function.name += piece.function?.name ?? "";
    call.function.arguments += piece.function?.arguments ?? "";
  }
  if (choice.finish_reason) answer.reason = choice.finish_reason;
}

/** Return a vector for each text. */
export async function embed(model: string, input: string[], signal: AbortSignal): Promise<number[][]> {
  const made = await askJson<{ data: { embedding: number[] }[] }>("v1/embeddings", { model, input }, signal);
  return made.data.map((row) => row.embedding);
}

/** Return the cosine of two vectors. */
export function cosine(left: number[], right: number[]): number {
  const dot = (a: number[], b: number[]) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
  return dot(left, right) / Math.sqrt(dot(left, left) * dot(right, right));
}
