"""A chain over the gateway as a web service.

pip install langchain-openai "langserve[server]" uvicorn
uvicorn langserve_app:app
"""

import os

from fastapi import FastAPI
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from langserve import add_routes

url = os.environ.get("GATEWAY", "http://127.0.0.1:9000")
model = ChatOpenAI(base_url=f"{url}/v1", api_key="none", model=os.environ.get("MODEL", "smollm2"))
chain = ChatPromptTemplate.from_template("Explain in one sentence: {topic}") | model
app = FastAPI()
add_routes(app, chain, path="/explain")  # /explain/invoke, /batch, /stream
