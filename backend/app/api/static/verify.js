// Posts the token of the link when the person asks for it: opening the page, as mail scanners do, uses nothing up.
"use strict";

const button = document.getElementById("confirm");
const outcome = document.getElementById("outcome");
const token = new URLSearchParams(location.search).get("token");

const told = {
  204: "Your email address is confirmed. You can close this page and sign in.",
  400: "This link is not valid any more: it has expired, or it was used before. If you cannot sign in, ask for a new mail.",
  422: "This link is not complete. Please copy the whole link from the mail.",
  429: "There were too many attempts. Please wait a minute and press the button again.",
};
const final = [204, 400, 422];

function say(text) {
  outcome.textContent = text;
}

async function confirm() {
  button.disabled = true;
  say("One moment…");
  let status = 0;
  try {
    const answer = await fetch("../api/v1/auth/verify-email", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
      credentials: "omit",
      cache: "no-store",
    });
    status = answer.status;
  } catch {
    // No answer at all: the network is away, which the text below says.
  }
  if (final.includes(status)) {
    button.hidden = true;
    history.replaceState(null, "", location.pathname); // the token leaves the address bar
  } else {
    button.disabled = false;
  }
  say(told[status] || "That did not work. Please check your connection and press the button again.");
}

if (token) {
  button.disabled = false;
  button.addEventListener("click", confirm);
} else {
  button.hidden = true;
  say(told[422]);
}
