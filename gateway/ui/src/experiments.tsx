/** The experiments that run: who gets which variant, and what the gateway has counted of each. */

import { useEffect, useState } from "preact/hooks";
import { askJson, said } from "./api";

interface Variant {
  name: string;
  model: string;
  weight: number;
  share: number;
  requests: number;
  errors: number;
  left: number;
  feedback: number;
  first_token_seconds: number | null;
}

interface Experiment {
  name: string;
  model: string;
  unit: string;
  layer: string;
  users: [number, number];
  override: string;
  left_out: Record<string, number>;
  variants: Variant[];
}

interface Listing {
  data: Experiment[];
  exposures: { waiting: number; lost: number };
}

const SECONDS = 5;
const percent = (share: number) => `${+(100 * share).toFixed(2)} %`;

export function Experiments() {
  const [listing, setListing] = useState<Listing | null>(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const stop = new AbortController();
    const look = () => {
      if (document.hidden) return;
      askJson<Listing>("v1/experiment/list", undefined, stop.signal).then(
        (found) => {
          setListing(found);
          setProblem("");
        },
        (error) => {
          if (!stop.signal.aborted) setProblem(said(error));
        },
      );
    };
    look();
    const timer = setInterval(look, SECONDS * 1000);
    return () => {
      clearInterval(timer);
      stop.abort();
    };
  }, []);
  if (problem) return <p role="alert" class="error">{problem}</p>;
  if (!listing) return null;
  const { waiting, lost } = listing.exposures;
  return (
    <>
      <p class={lost ? "error" : ""}>
        Counts are since the gateway started. {waiting} records wait to be written, {lost} are lost.
      </p>
      {!listing.data.length && <p>No experiment is running.</p>}
      {listing.data.map((one) => <Table key={one.name} {...one} />)}
    </>
  );
}

function Table({ name, model, unit, users, override, left_out, variants }: Experiment) {
  const outside = Object.entries(left_out).map(([reason, count]) => `${count} (${reason.replaceAll("_", " ")})`);
  return (
    <table aria-label={name}>
      <caption>
        <strong>{name}</strong>: requests for {model}, by {unit}, {percent((users[1] - users[0]) / 100)} of the
        users; a request {override === "refuse" ? "cannot choose" : `can choose (${override})`} its variant
        {outside.length > 0 && `; without a variant: ${outside.join(", ")}`}
      </caption>
      <thead>
        <tr>
          <th scope="col">Variant</th><th scope="col">Model</th><th scope="col">Weight</th>
          <th scope="col">Users</th><th scope="col">Exposures</th><th scope="col">Errors</th>
          <th scope="col">Clients left</th><th scope="col">First token, mean</th><th scope="col">Feedback</th>
        </tr>
      </thead>
      <tbody>
        {variants.map((one) => (
          <tr key={one.name}>
            <th scope="row">{one.name}</th>
            <td>{one.model}</td>
            <td>{one.weight}</td>
            <td>{percent(one.share)}</td>
            <td>{one.requests}</td>
            <td class={one.errors ? "error" : ""}>{one.errors}</td>
            <td>{one.left}</td>
            <td>{one.first_token_seconds === null ? "–" : `${(1000 * one.first_token_seconds).toFixed(1)} ms`}</td>
            <td>{one.feedback}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
