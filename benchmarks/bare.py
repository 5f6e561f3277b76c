"""The bare server: FastAPI and uvicorn answering 202 to a JSON body, and doing nothing else."""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.post("/v1/signups", status_code=202)
async def post_signup(body: dict[str, Any]) -> dict[str, str]:
    """Take a body, store nothing."""
    return {"message": f"Check your inbox, {len(body)}."}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
