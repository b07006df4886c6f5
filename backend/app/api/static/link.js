// What the pages of mailed links share: the token of the address bar is posted when the person asks for it.

const token = new URLSearchParams(location.search).get("token");
const outcome = document.getElementById("outcome");
const button = document.getElementById("confirm");

const INCOMPLETE = "This link is not complete. Please copy the whole link from the mail.";
const OTHERWISE = "That did not work. Please check your connection and press the button again.";
const BUSY = "There were too many attempts. Please wait a minute and press the button again.";

function say(text) {
  outcome.textContent = text;
}

function close(element, text) {
  element.hidden = true;
  history.replaceState(null, "", location.pathname); // the token leaves the address bar
  say(text);
}

/** Why a 422 refused: the reason of a field that can be typed again, or null when the link itself is at fault. */
async function refusal(answer) {
  const problem = await answer.json().catch(() => ({}));
  const faults = (problem.errors || []).filter((fault) => fault.pointer !== "/token");
  return faults.length ? faults.map((fault) => fault.detail).join(" ") : null;
}

/**
 * Let `element`, a button or a form, post `body(token)` to `/api/v1/auth/<call>`. `told` says what 204 and 400 mean:
 * after either the link is done with.
 */
export function offer(element, call, body, told) {
  async function post(event) {
    event.preventDefault();
    button.disabled = true;
    say("One moment…");
    let answer = null;
    try {
      answer = await fetch(`../api/v1/auth/${call}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body(token)),
        credentials: "omit",
        cache: "no-store",
      });
    } catch {
      // No answer at all: the network is away, which the text below says.
    }
    if (answer && told[answer.status]) return close(element, told[answer.status]);
    if (answer && answer.status === 422) {
      const reason = await refusal(answer);
      if (reason === null) return close(element, INCOMPLETE);
      say(reason);
    } else {
      say(answer && answer.status === 429 ? BUSY : OTHERWISE);
    }
    button.disabled = false;
  }

  if (token) {
    button.disabled = false;
    element.addEventListener(element.tagName === "FORM" ? "submit" : "click", post);
  } else {
    element.hidden = true;
    say(INCOMPLETE);
  }
}
