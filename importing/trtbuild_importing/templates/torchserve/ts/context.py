"""The context of a handler: its model, and the requests of the batch."""


class RequestProcessor:
    """Headers of a request, and status and headers of its response."""

    def __init__(self, request_header):
        self._request_header = request_header
        self._response_header = {}
        self._status = (200, None)

    def get_request_property(self, key):
        """Return a header of the request; None without."""
        return self._request_header.get(key)

    def get_request_properties(self):
        """Return all headers of the request."""
        return self._request_header

    def report_status(self, code, reason_phrase=None):
        """Set the response's status."""
        self._status = (code, reason_phrase)

    def get_response_status_code(self):
        """Return the response's status."""
        return self._status[0]

    def get_response_status_phrase(self):
        """Return the reason of the response's status."""
        return self._status[1]

    def add_response_property(self, key, value):
        """Set a header of the response; Triton has none, so nobody sees it."""
        self._response_header[key] = value

    def get_response_headers(self):
        """Return the headers of the response."""
        return self._response_header

    def get_response_header(self, key):
        """Return a header of the response; None without."""
        return self._response_header.get(key)


class _Metrics:
    """Takes every metric, and keeps none."""

    request_ids = None

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *_args, **_named: _Metrics()


class Context:
    """What a handler gets beside its data."""

    def __init__(self, model_name, model_dir, manifest, *, batch_size, gpu, config):
        self.model_name = model_name
        self.manifest = manifest
        self.model_yaml_config = config
        self.metrics = _Metrics()
        self.request_ids = None
        self.request_processor = None
        self.stopping_criteria = None
        self.system_properties = {
            "model_dir": model_dir,
            "gpu_id": gpu,
            "batch_size": batch_size,
            "server_name": "MMS",
            "server_version": "0.12.0",
            "limit_max_image_pixels": True,
        }

    def begin(self, request_ids, processors):
        """Start a batch."""
        self.request_ids = request_ids
        self.request_processor = processors

    def get_request_id(self, idx=0):
        """Return the id of a request; None outside a batch."""
        return self.request_ids.get(idx) if self.request_ids else None

    def get_request_header(self, idx, key):
        """Return a header of a request; None without."""
        return self.request_processor[idx].get_request_property(key)

    def get_all_request_header(self, idx):
        """Return all headers of a request."""
        return self.request_processor[idx].get_request_properties()

    def set_response_content_type(self, idx, value):
        """Set the content type of a response."""
        self.set_response_header(idx, "content-type", value)

    def get_response_content_type(self, idx):
        """Return the content type of a response; None without."""
        return self.get_response_headers(idx).get("content-type")

    def get_response_status(self, idx):
        """Return status and reason of a response."""
        one = self.request_processor[idx]
        return one.get_response_status_code(), one.get_response_status_phrase()

    def set_response_status(self, code=200, phrase="", idx=0):
        """Set the status of one response: 400 and above is an error of Triton."""
        self.request_processor[idx].report_status(code, phrase)

    def set_all_response_status(self, code=200, phrase=""):
        """Set the status of all responses."""
        for one in self.request_processor:
            one.report_status(code, phrase)

    def get_response_headers(self, idx):
        """Return the headers of a response."""
        return self.request_processor[idx].get_response_headers()

    def set_response_header(self, idx, key, value):
        """Set a header of a response."""
        self.request_processor[idx].add_response_property(key, value)
