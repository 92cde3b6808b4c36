"""langchain-openai, by the suites that langchain publishes for chat models and embeddings."""

import os

from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import (
    ChatModelIntegrationTests,
    EmbeddingsIntegrationTests,
)

BASE = {"base_url": f"{os.environ['GATEWAY']}/v1", "api_key": "none"}


class TestChat(ChatModelIntegrationTests):
    """Chat completions."""

    chat_model_class = ChatOpenAI
    supports_image_inputs = True
    supports_json_mode = True

    @property
    def chat_model_params(self):
        return {**BASE, "model": "scripted", "stream_usage": True}


class TestResponses(TestChat):
    """The same over the Responses API."""

    @property
    def chat_model_params(self):
        return {**super().chat_model_params, "use_responses_api": True}


class TestEmbeddings(EmbeddingsIntegrationTests):
    """Embeddings."""

    embeddings_class = OpenAIEmbeddings

    @property
    def embedding_model_params(self):
        # The client sends token ids of OpenAI's own tokenizer unless it is told otherwise.
        return {**BASE, "model": "embedder", "check_embedding_ctx_length": False}
