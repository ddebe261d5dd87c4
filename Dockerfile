# dimlift on a CPU: docker build -t dimlift . && docker run --rm -v "$PWD:/data" dimlift check cohort
FROM python:3.11-slim
WORKDIR /opt/dimlift
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir -c constraints.txt '.[dicom,itk,onnx,tensorboard]'
RUN useradd --create-home lifter
USER lifter
WORKDIR /data
ENTRYPOINT ["dimlift"]
CMD ["--help"]
