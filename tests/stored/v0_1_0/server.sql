CREATE TYPE public.studydirection AS ENUM (
    'NOT_SET',
    'MINIMIZE',
    'MAXIMIZE'
);
CREATE TYPE public.trialintermediatevaluetype AS ENUM (
    'FINITE',
    'INF_POS',
    'INF_NEG',
    'NAN'
);
CREATE TYPE public.trialstate AS ENUM (
    'RUNNING',
    'COMPLETE',
    'PRUNED',
    'FAIL',
    'WAITING'
);
CREATE TYPE public.trialvaluetype AS ENUM (
    'FINITE',
    'INF_POS',
    'INF_NEG'
);
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.energyopt_confirmations (
    study_id integer NOT NULL,
    number integer NOT NULL,
    trial integer NOT NULL,
    seed bigint NOT NULL,
    overrides text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    result text,
    test_accuracy double precision,
    host text NOT NULL,
    place text NOT NULL,
    pid integer NOT NULL,
    start text NOT NULL
);
CREATE TABLE public.energyopt_runs (
    study_id integer NOT NULL,
    ordinal integer NOT NULL,
    host text NOT NULL,
    place text NOT NULL,
    pid integer NOT NULL,
    start text NOT NULL,
    beat_s double precision NOT NULL,
    grace_s double precision NOT NULL,
    ended boolean NOT NULL,
    began_s double precision
);
CREATE TABLE public.energyopt_schema (
    version integer NOT NULL
);
CREATE TABLE public.energyopt_trials (
    study_id integer NOT NULL,
    number integer NOT NULL,
    overrides text NOT NULL,
    is_default boolean NOT NULL,
    lost boolean NOT NULL,
    reason text NOT NULL,
    result text,
    run integer,
    ended boolean DEFAULT true NOT NULL,
    retried boolean DEFAULT true NOT NULL,
    deaths integer DEFAULT 0 NOT NULL,
    outcome text,
    paused boolean DEFAULT false NOT NULL
);
CREATE TABLE public.studies (
    study_id integer NOT NULL,
    study_name character varying(512) NOT NULL
);
CREATE SEQUENCE public.studies_study_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.studies_study_id_seq OWNED BY public.studies.study_id;
CREATE TABLE public.study_directions (
    study_direction_id integer NOT NULL,
    direction public.studydirection NOT NULL,
    study_id integer NOT NULL,
    objective integer NOT NULL
);
CREATE SEQUENCE public.study_directions_study_direction_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.study_directions_study_direction_id_seq OWNED BY public.study_directions.study_direction_id;
CREATE TABLE public.study_system_attributes (
    study_system_attribute_id integer NOT NULL,
    study_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.study_system_attributes_study_system_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.study_system_attributes_study_system_attribute_id_seq OWNED BY public.study_system_attributes.study_system_attribute_id;
CREATE TABLE public.study_user_attributes (
    study_user_attribute_id integer NOT NULL,
    study_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.study_user_attributes_study_user_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.study_user_attributes_study_user_attribute_id_seq OWNED BY public.study_user_attributes.study_user_attribute_id;
CREATE TABLE public.trial_heartbeats (
    trial_heartbeat_id integer NOT NULL,
    trial_id integer NOT NULL,
    heartbeat timestamp without time zone NOT NULL
);
CREATE SEQUENCE public.trial_heartbeats_trial_heartbeat_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_heartbeats_trial_heartbeat_id_seq OWNED BY public.trial_heartbeats.trial_heartbeat_id;
CREATE TABLE public.trial_intermediate_values (
    trial_intermediate_value_id integer NOT NULL,
    trial_id integer NOT NULL,
    step integer NOT NULL,
    intermediate_value double precision,
    intermediate_value_type public.trialintermediatevaluetype NOT NULL
);
CREATE SEQUENCE public.trial_intermediate_values_trial_intermediate_value_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_intermediate_values_trial_intermediate_value_id_seq OWNED BY public.trial_intermediate_values.trial_intermediate_value_id;
CREATE TABLE public.trial_params (
    param_id integer NOT NULL,
    trial_id integer,
    param_name character varying(512),
    param_value double precision,
    distribution_json text
);
CREATE SEQUENCE public.trial_params_param_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_params_param_id_seq OWNED BY public.trial_params.param_id;
CREATE TABLE public.trial_system_attributes (
    trial_system_attribute_id integer NOT NULL,
    trial_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.trial_system_attributes_trial_system_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_system_attributes_trial_system_attribute_id_seq OWNED BY public.trial_system_attributes.trial_system_attribute_id;
CREATE TABLE public.trial_user_attributes (
    trial_user_attribute_id integer NOT NULL,
    trial_id integer,
    key character varying(512),
    value_json text
);
CREATE SEQUENCE public.trial_user_attributes_trial_user_attribute_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_user_attributes_trial_user_attribute_id_seq OWNED BY public.trial_user_attributes.trial_user_attribute_id;
CREATE TABLE public.trial_values (
    trial_value_id integer NOT NULL,
    trial_id integer NOT NULL,
    objective integer NOT NULL,
    value double precision,
    value_type public.trialvaluetype NOT NULL
);
CREATE SEQUENCE public.trial_values_trial_value_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trial_values_trial_value_id_seq OWNED BY public.trial_values.trial_value_id;
CREATE TABLE public.trials (
    trial_id integer NOT NULL,
    number integer,
    study_id integer,
    state public.trialstate NOT NULL,
    datetime_start timestamp without time zone,
    datetime_complete timestamp without time zone
);
CREATE SEQUENCE public.trials_trial_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trials_trial_id_seq OWNED BY public.trials.trial_id;
CREATE TABLE public.version_info (
    version_info_id integer NOT NULL,
    schema_version integer,
    library_version character varying(256),
    CONSTRAINT version_info_version_info_id_check CHECK ((version_info_id = 1))
);
ALTER TABLE ONLY public.studies ALTER COLUMN study_id SET DEFAULT nextval('public.studies_study_id_seq'::regclass);
ALTER TABLE ONLY public.study_directions ALTER COLUMN study_direction_id SET DEFAULT nextval('public.study_directions_study_direction_id_seq'::regclass);
ALTER TABLE ONLY public.study_system_attributes ALTER COLUMN study_system_attribute_id SET DEFAULT nextval('public.study_system_attributes_study_system_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.study_user_attributes ALTER COLUMN study_user_attribute_id SET DEFAULT nextval('public.study_user_attributes_study_user_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.trial_heartbeats ALTER COLUMN trial_heartbeat_id SET DEFAULT nextval('public.trial_heartbeats_trial_heartbeat_id_seq'::regclass);
ALTER TABLE ONLY public.trial_intermediate_values ALTER COLUMN trial_intermediate_value_id SET DEFAULT nextval('public.trial_intermediate_values_trial_intermediate_value_id_seq'::regclass);
ALTER TABLE ONLY public.trial_params ALTER COLUMN param_id SET DEFAULT nextval('public.trial_params_param_id_seq'::regclass);
ALTER TABLE ONLY public.trial_system_attributes ALTER COLUMN trial_system_attribute_id SET DEFAULT nextval('public.trial_system_attributes_trial_system_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.trial_user_attributes ALTER COLUMN trial_user_attribute_id SET DEFAULT nextval('public.trial_user_attributes_trial_user_attribute_id_seq'::regclass);
ALTER TABLE ONLY public.trial_values ALTER COLUMN trial_value_id SET DEFAULT nextval('public.trial_values_trial_value_id_seq'::regclass);
ALTER TABLE ONLY public.trials ALTER COLUMN trial_id SET DEFAULT nextval('public.trials_trial_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('v3.2.0.a');
INSERT INTO public.energyopt_runs VALUES (1, 0, 'somewhere', 'f7aa724a-b898-4b5c-876d-d515fb34450e/pid:[4026531836]', 11282, '174421', 1796038407.66507, 600, true, 1796038393.033146);
INSERT INTO public.energyopt_schema VALUES (4);
INSERT INTO public.energyopt_trials VALUES (1, 0, '["lr=0.001", "+model.width=8", "batch_size=32"]', true, false, 'trained all 8 epochs', '{"start": {"target": 0.9, "epochs": 8, "seed": 0, "provenance": {"kind": "simulated", "meter": "optimizer steps x made-up joules", "version": "model 1", "scope": "nothing real", "device": "made up", "host": "somewhere", "uncertainty": "made up", "resolution_s": 0.0}, "flags": [], "machine": {"gpus": [], "driver": null, "packages": {"python": "3.11.7", "energyopt": "0.1.0", "torch": "2.13.0+cpu", "zeus": "0.16.0", "nvidia-ml-py": "13.615.71", "numpy": "2.4.6", "optuna": "5.0.0", "hydra-core": "1.3.8"}, "commit": null}, "quality_periods": [50, 100, 600]}, "checkpoints": {"samples": [32, 64, 96, 106, 138, 170, 202, 212, 244, 276, 308, 318, 350, 382, 414, 424, 456, 488, 520, 530, 562, 594, 626, 636, 668, 700, 732, 742, 774, 806, 838, 848], "steps": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32], "epoch": [0.3018867924528302, 0.6037735849056604, 0.9056603773584906, 1.0, 1.3018867924528301, 1.6037735849056605, 1.9056603773584906, 2.0, 2.30188679245283, 2.6037735849056602, 2.9056603773584904, 3.0, 3.30188679245283, 3.6037735849056602, 3.9056603773584904, 4.0, 4.30188679245283, 4.60377358490566, 4.90566037735849, 5.0, 5.30188679245283, 5.60377358490566, 5.90566037735849, 6.0, 6.30188679245283, 6.60377358490566, 6.90566037735849, 7.0, 7.30188679245283, 7.60377358490566, 7.90566037735849, 8.0], "accuracy": [0.4444444444444444, 0.4444444444444444, 0.4722222222222222, 0.4722222222222222, 0.5, 0.5277777777777778, 0.5277777777777778, 0.5277777777777778, 0.5277777777777778, 0.5277777777777778, 0.5277777777777778, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5833333333333334, 0.6111111111111112, 0.6111111111111112, 0.6111111111111112, 0.6388888888888888, 0.6388888888888888, 0.6388888888888888, 0.6944444444444444, 0.6944444444444444, 0.6944444444444444, 0.6944444444444444, 0.6944444444444444, 0.6944444444444444], "loss": [1.0944573879241943, 1.0830813646316528, 1.058379888534546, 1.147087860107422, 1.0326478481292725, 1.0827784538269043, 1.0913057327270508, 1.0964719772338867, 1.0800811052322388, 1.1186470985412598, 0.9910780787467957, 1.0200419425964355, 1.07414710521698, 1.041298508644104, 1.0205310583114624, 1.0605070114135742, 1.0151234865188599, 1.0482921600341797, 1.0392693281173706, 1.0342654228210448, 1.0638965368270874, 1.0265134572982788, 1.0169788599014282, 0.8799984931945801, 0.9838109612464905, 1.0096715688705444, 1.028762698173523, 1.021582794189453, 1.019708514213562, 0.9887232780456543, 0.9805022478103638, 0.9887965202331543], "training": {"time_s": [0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184, 0.00184], "gpu_j": null, "cpu_j": [0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092, 0.092], "dram_j": null, "gpus_j": []}, "evaluation": {"time_s": [0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002], "gpu_j": null, "cpu_j": [0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01], "dram_j": null, "gpus_j": []}}, "books": {"loading": {"time_s": 0.0002, "gpu_j": null, "cpu_j": 0.01, "dram_j": null, "gpus_j": []}, "warmup": {"time_s": 0.00512, "gpu_j": null, "cpu_j": 0.256, "dram_j": null, "gpus_j": []}, "training": {"time_s": 0.05888000000000003, "gpu_j": null, "cpu_j": 2.9440000000000013, "dram_j": null, "gpus_j": []}, "evaluation": {"time_s": 0.006399999999999997, "gpu_j": null, "cpu_j": 0.3200000000000001, "dram_j": null, "gpus_j": []}}, "end": "epochs", "reason": "trained all 8 epochs", "conditions": {"temperature_before_c": null, "temperature_after_c": null, "cool_down_s": 0.0, "idle_w": null, "limit_w": null, "profile": null, "flags": [], "epoch_j": null}, "upfront": [], "head_targets": {}, "inference_j_per_1000": {}}', 0, true, true, 0, '{"state": "complete", "values": [2.9440000000000013, 0.6944444444444444], "constraints": {"target_missed_by": 0.2055555555555556}, "attributes": {"provenance": "simulated", "meter": "optimizer steps x made-up joules", "end": "epochs", "censored": true, "best_accuracy": 0.6944444444444444, "training_j": 2.9440000000000013, "evaluation_j": 0.3200000000000001, "spent_j": 3.5300000000000016, "curve": {"epochs": [0.3018867924528302, 0.6037735849056604, 0.9056603773584906, 1.0, 1.3018867924528301, 1.6037735849056605, 1.9056603773584906, 2.0, 2.30188679245283, 2.6037735849056602, 2.9056603773584904, 3.0, 3.30188679245283, 3.6037735849056602, 3.9056603773584904, 4.0, 4.30188679245283, 4.60377358490566, 4.90566037735849, 5.0, 5.30188679245283, 5.60377358490566, 5.90566037735849, 6.0, 6.30188679245283, 6.60377358490566, 6.90566037735849, 7.0, 7.30188679245283, 7.60377358490566, 7.90566037735849, 8.0], "joules": [0.092, 0.184, 0.276, 0.368, 0.45999999999999996, 0.5519999999999999, 0.6439999999999999, 0.7359999999999999, 0.8279999999999998, 0.9199999999999998, 1.0119999999999998, 1.1039999999999999, 1.196, 1.288, 1.3800000000000001, 1.4720000000000002, 1.5640000000000003, 1.6560000000000004, 1.7480000000000004, 1.8400000000000005, 1.9320000000000006, 2.0240000000000005, 2.1160000000000005, 2.2080000000000006, 2.3000000000000007, 2.392000000000001, 2.484000000000001, 2.576000000000001, 2.668000000000001, 2.760000000000001, 2.852000000000001, 2.9440000000000013], "accuracy": [0.4444444444444444, 0.4444444444444444, 0.4722222222222222, 0.4722222222222222, 0.5, 0.5277777777777778, 0.5277777777777778, 0.5277777777777778, 0.5277777777777778, 0.5277777777777778, 0.5277777777777778, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5833333333333334, 0.6111111111111112, 0.6111111111111112, 0.6111111111111112, 0.6388888888888888, 0.6388888888888888, 0.6388888888888888, 0.6944444444444444, 0.6944444444444444, 0.6944444444444444, 0.6944444444444444, 0.6944444444444444, 0.6944444444444444], "epoch_j": 0.36800000000000016}}, "reason": "trained all 8 epochs"}', false);
INSERT INTO public.energyopt_trials VALUES (1, 1, '["lr=0.19628224813442816", "+model.width=8", "batch_size=32"]', false, false, 'no better accuracy in 5 evaluations', '{"start": {"target": 0.9, "epochs": 8, "seed": 0, "provenance": {"kind": "simulated", "meter": "optimizer steps x made-up joules", "version": "model 1", "scope": "nothing real", "device": "made up", "host": "somewhere", "uncertainty": "made up", "resolution_s": 0.0}, "flags": [], "machine": {"gpus": [], "driver": null, "packages": {"python": "3.11.7", "energyopt": "0.1.0", "torch": "2.13.0+cpu", "zeus": "0.16.0", "nvidia-ml-py": "13.615.71", "numpy": "2.4.6", "optuna": "5.0.0", "hydra-core": "1.3.8"}, "commit": null}, "quality_periods": [50, 100, 600]}, "checkpoints": {"samples": [32, 64, 106, 212, 318, 424, 530, 636], "steps": [1, 2, 4, 8, 12, 16, 20, 24], "epoch": [0.3018867924528302, 0.6037735849056604, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "accuracy": [0.7222222222222222, 0.9444444444444444, 1.0, 0.8888888888888888, 0.9722222222222222, 1.0, 1.0, 1.0], "loss": [1.0944573879241943, 0.723286509513855, 0.30530180249895367, 0.10574491968694723, 0.1458650085161317, 0.01827121118329606, 0.018597879499759315, 0.0022381867440241687], "training": {"time_s": [0.00184, 0.00184, 0.0034800000000000005, 0.00676, 0.00676, 0.00676, 0.00676, 0.00676], "gpu_j": null, "cpu_j": [0.092, 0.092, 0.17400000000000002, 0.338, 0.338, 0.338, 0.338, 0.338], "dram_j": null, "gpus_j": []}, "evaluation": {"time_s": [0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002, 0.0002], "gpu_j": null, "cpu_j": [0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01], "dram_j": null, "gpus_j": []}}, "books": {"loading": {"time_s": 0.0014000000000000002, "gpu_j": null, "cpu_j": 0.07, "dram_j": null, "gpus_j": []}, "warmup": {"time_s": 0.015360000000000002, "gpu_j": null, "cpu_j": 0.768, "dram_j": null, "gpus_j": []}, "training": {"time_s": 0.04096000000000001, "gpu_j": null, "cpu_j": 2.048, "dram_j": null, "gpus_j": []}, "evaluation": {"time_s": 0.0016000000000000003, "gpu_j": null, "cpu_j": 0.08, "dram_j": null, "gpus_j": []}}, "end": "plateau", "reason": "no better accuracy in 5 evaluations", "conditions": {"temperature_before_c": null, "temperature_after_c": null, "cool_down_s": 0.0, "idle_w": null, "limit_w": null, "profile": null, "flags": [], "epoch_j": 0.342}, "upfront": [], "head_targets": {}, "inference_j_per_1000": {}}', 0, true, true, 0, '{"state": "complete", "values": [0.184, 1.0], "constraints": {"target_missed_by": -0.09999999999999998}, "attributes": {"provenance": "simulated", "meter": "optimizer steps x made-up joules", "end": "plateau", "censored": false, "best_accuracy": 1.0, "training_j": 2.048, "evaluation_j": 0.08, "spent_j": 2.966, "curve": {"epochs": [0.3018867924528302, 0.6037735849056604, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "joules": [0.092, 0.184, 0.358, 0.696, 1.034, 1.372, 1.7100000000000002, 2.048], "accuracy": [0.7222222222222222, 0.9444444444444444, 1.0, 0.8888888888888888, 0.9722222222222222, 1.0, 1.0, 1.0], "epoch_j": 0.3413333333333333}, "energy_to_target_j": 0.184, "epochs_to_target": 0.6037735849056604}, "reason": "no better accuracy in 5 evaluations"}', false);
INSERT INTO public.energyopt_trials VALUES (1, 2, '["lr=0.042220489831498315", "+model.width=12", "batch_size=8"]', false, false, 'paused after 2 epochs, 1.65 J of training', '{"start": {"target": 0.9, "epochs": 8, "seed": 0, "provenance": {"kind": "simulated", "meter": "optimizer steps x made-up joules", "version": "model 1", "scope": "nothing real", "device": "made up", "host": "somewhere", "uncertainty": "made up", "resolution_s": 0.0}, "flags": [], "machine": {"gpus": [], "driver": null, "packages": {"python": "3.11.7", "energyopt": "0.1.0", "torch": "2.13.0+cpu", "zeus": "0.16.0", "nvidia-ml-py": "13.615.71", "numpy": "2.4.6", "optuna": "5.0.0", "hydra-core": "1.3.8"}, "commit": null}, "quality_periods": [50, 100, 600]}, "checkpoints": {"samples": [32, 106, 212], "steps": [4, 14, 28], "epoch": [0.3018867924528302, 1.0, 2.0], "accuracy": [0.9166666666666666, 0.9722222222222222, 0.9166666666666666], "loss": [0.7616201043128967, 0.18723605130169843, 0.02764579934893914], "training": {"time_s": [0.0048400000000000006, 0.011800000000000001, 0.01644], "gpu_j": null, "cpu_j": [0.24200000000000002, 0.5900000000000001, 0.8220000000000001], "dram_j": null, "gpus_j": []}, "evaluation": {"time_s": [0.0002, 0.0002, 0.0002], "gpu_j": null, "cpu_j": [0.01, 0.01, 0.01], "dram_j": null, "gpus_j": []}}, "books": {"loading": {"time_s": 0.001, "gpu_j": null, "cpu_j": 0.05, "dram_j": null, "gpus_j": []}, "warmup": {"time_s": 0.007360000000000001, "gpu_j": null, "cpu_j": 0.36800000000000005, "dram_j": null, "gpus_j": []}, "training": {"time_s": 0.03308, "gpu_j": null, "cpu_j": 1.6540000000000001, "dram_j": null, "gpus_j": []}, "evaluation": {"time_s": 0.0006000000000000001, "gpu_j": null, "cpu_j": 0.03, "dram_j": null, "gpus_j": []}}, "end": "paused", "reason": "paused after 2 epochs, 1.65 J of training", "conditions": {"temperature_before_c": null, "temperature_after_c": null, "cool_down_s": 0.0, "idle_w": null, "limit_w": null, "profile": null, "flags": [], "epoch_j": 0.8270000000000001}, "upfront": [], "head_targets": {}, "inference_j_per_1000": {}}', NULL, false, true, 0, '{"state": "paused", "values": [0.24200000000000002, 0.9722222222222222], "constraints": {"target_missed_by": -0.07222222222222219}, "attributes": {"provenance": "simulated", "meter": "optimizer steps x made-up joules", "end": "paused", "censored": false, "best_accuracy": 0.9722222222222222, "training_j": 1.6540000000000001, "evaluation_j": 0.03, "spent_j": 2.102, "curve": {"epochs": [0.3018867924528302, 1.0, 2.0], "joules": [0.24200000000000002, 0.8320000000000001, 1.6540000000000001], "accuracy": [0.9166666666666666, 0.9722222222222222, 0.9166666666666666], "epoch_j": 0.8270000000000001}, "energy_to_target_j": 0.24200000000000002, "epochs_to_target": 0.3018867924528302}, "reason": "paused after 2 epochs, 1.65 J of training"}', true);
INSERT INTO public.energyopt_trials VALUES (1, 3, '["lr=0.2560161525002872", "+model.width=8", "batch_size=32"]', false, false, 'paused after 3 epochs, 1.03 J of training', '{"start": {"target": 0.9, "epochs": 8, "seed": 0, "provenance": {"kind": "simulated", "meter": "optimizer steps x made-up joules", "version": "model 1", "scope": "nothing real", "device": "made up", "host": "somewhere", "uncertainty": "made up", "resolution_s": 0.0}, "flags": [], "machine": {"gpus": [], "driver": null, "packages": {"python": "3.11.7", "energyopt": "0.1.0", "torch": "2.13.0+cpu", "zeus": "0.16.0", "nvidia-ml-py": "13.615.71", "numpy": "2.4.6", "optuna": "5.0.0", "hydra-core": "1.3.8"}, "commit": null}, "quality_periods": [50, 100, 600]}, "checkpoints": {"samples": [32, 64, 106, 212, 318], "steps": [1, 2, 4, 8, 12], "epoch": [0.3018867924528302, 0.6037735849056604, 1.0, 2.0, 3.0], "accuracy": [0.6944444444444444, 0.9444444444444444, 0.9722222222222222, 0.8888888888888888, 0.9722222222222222], "loss": [1.0944573879241943, 0.7735776305198669, 0.3731990314665295, 0.1519683082148714, 0.1851603849878851], "training": {"time_s": [0.00184, 0.00184, 0.0034800000000000005, 0.00676, 0.00676], "gpu_j": null, "cpu_j": [0.092, 0.092, 0.17400000000000002, 0.338, 0.338], "dram_j": null, "gpus_j": []}, "evaluation": {"time_s": [0.0002, 0.0002, 0.0002, 0.0002, 0.0002], "gpu_j": null, "cpu_j": [0.01, 0.01, 0.01, 0.01, 0.01], "dram_j": null, "gpus_j": []}}, "books": {"loading": {"time_s": 0.0004, "gpu_j": null, "cpu_j": 0.02, "dram_j": null, "gpus_j": []}, "warmup": {"time_s": 0.00512, "gpu_j": null, "cpu_j": 0.256, "dram_j": null, "gpus_j": []}, "training": {"time_s": 0.020680000000000004, "gpu_j": null, "cpu_j": 1.034, "dram_j": null, "gpus_j": []}, "evaluation": {"time_s": 0.001, "gpu_j": null, "cpu_j": 0.05, "dram_j": null, "gpus_j": []}}, "end": "paused", "reason": "paused after 3 epochs, 1.03 J of training", "conditions": {"temperature_before_c": null, "temperature_after_c": null, "cool_down_s": 0.0, "idle_w": null, "limit_w": null, "profile": null, "flags": [], "epoch_j": 0.3446666666666667}, "upfront": [], "head_targets": {}, "inference_j_per_1000": {}}', NULL, false, true, 0, '{"state": "paused", "values": [0.184, 0.9722222222222222], "constraints": {"target_missed_by": -0.07222222222222219}, "attributes": {"provenance": "simulated", "meter": "optimizer steps x made-up joules", "end": "paused", "censored": false, "best_accuracy": 0.9722222222222222, "training_j": 1.034, "evaluation_j": 0.05, "spent_j": 1.36, "curve": {"epochs": [0.3018867924528302, 0.6037735849056604, 1.0, 2.0, 3.0], "joules": [0.092, 0.184, 0.358, 0.696, 1.034], "accuracy": [0.6944444444444444, 0.9444444444444444, 0.9722222222222222, 0.8888888888888888, 0.9722222222222222], "epoch_j": 0.3446666666666667}, "energy_to_target_j": 0.184, "epochs_to_target": 0.6037735849056604}, "reason": "paused after 3 epochs, 1.03 J of training"}', true);
INSERT INTO public.energyopt_trials VALUES (1, 4, '["lr=4.665954567021848", "+model.width=12", "batch_size=32"]', false, true, 'interrupted', '{"start": {"target": 0.9, "epochs": 8, "seed": 0, "provenance": {"kind": "simulated", "meter": "optimizer steps x made-up joules", "version": "model 1", "scope": "nothing real", "device": "made up", "host": "somewhere", "uncertainty": "made up", "resolution_s": 0.0}, "flags": [], "machine": {"gpus": [], "driver": null, "packages": {"python": "3.11.7", "energyopt": "0.1.0", "torch": "2.13.0+cpu", "zeus": "0.16.0", "nvidia-ml-py": "13.615.71", "numpy": "2.4.6", "optuna": "5.0.0", "hydra-core": "1.3.8"}, "commit": null}, "quality_periods": [50, 100, 600]}, "checkpoints": {"samples": [32], "steps": [1], "epoch": [0.3018867924528302], "accuracy": [0.5555555555555556], "loss": [0.9870764017105103], "training": {"time_s": [0.00184], "gpu_j": null, "cpu_j": [0.092], "dram_j": null, "gpus_j": []}, "evaluation": {"time_s": [0.0002], "gpu_j": null, "cpu_j": [0.01], "dram_j": null, "gpus_j": []}}, "books": {"loading": {"time_s": 0.0002, "gpu_j": null, "cpu_j": 0.01, "dram_j": null, "gpus_j": []}, "warmup": {"time_s": 0.00512, "gpu_j": null, "cpu_j": 0.256, "dram_j": null, "gpus_j": []}, "training": {"time_s": 0.00184, "gpu_j": null, "cpu_j": 0.092, "dram_j": null, "gpus_j": []}, "evaluation": {"time_s": 0.0002, "gpu_j": null, "cpu_j": 0.01, "dram_j": null, "gpus_j": []}}, "end": "interrupted", "reason": "interrupted", "conditions": {"temperature_before_c": null, "temperature_after_c": null, "cool_down_s": 0.0, "idle_w": null, "limit_w": null, "profile": null, "flags": [], "epoch_j": null}, "upfront": [], "head_targets": {}, "inference_j_per_1000": {}}', 0, true, true, 0, NULL, false);
INSERT INTO public.studies VALUES (1, 'server');
INSERT INTO public.study_directions VALUES (1, 'MINIMIZE', 1, 0);
INSERT INTO public.study_directions VALUES (2, 'MAXIMIZE', 1, 1);
INSERT INTO public.study_system_attributes VALUES (1, 1, 'study:metric_names', '["energy_to_target_j", "accuracy"]');
INSERT INTO public.study_user_attributes VALUES (1, 1, 'energyopt', '{"overrides": ["task=wine", "model=own", "model._target_=parts.Net", "hardware=own", "hardware.meter._target_=parts.Meter", "epochs=8", "target=0.9", "stopping=halving", "stopping.schedule.rungs=2", "stopping.schedule.eta=2", "sampler=random"], "sweep": ["lr=tag(log,interval(1e-4,100))", "+model.width=choice(8,12,13)", "batch_size=choice(8,32)"], "config": {"hardware": {"gpus": null, "gpu_name": null, "cpu": false, "shared": "refuse", "power_limit_w": null, "max_power_limit_w": null, "power_policy": "energy", "power_eta": 0.5, "power_slowdown": 1.1, "power_step_w": 25, "profile_slice_s": 5, "profile_settle_s": 1, "cool_down_s": 5, "cool_down_max_s": 60, "cool_down_c": 3, "power_floor": 0.5, "power_ceiling": 1.25, "quality_periods": [50, 100, 600], "meter": {"_target_": "parts.Meter"}}, "stopping": {"rules": {}, "schedule": {"_target_": "energyopt.search.halving.Halving", "eta": 2, "min_j": null, "rungs": 2}}, "task": {"_target_": "energyopt.tasks.tabular.Tabular", "name": "wine", "n_train": null, "n_validation": 36, "n_test": 36, "split_seed": 0}, "model": {"_target_": "parts.Net"}, "paradigm": {"_target_": "energyopt.paradigms.scratch.Scratch"}, "optimizer": {"_target_": "torch.optim.Adam", "_partial_": true, "lr": 0.001, "betas": [0.9, 0.999], "weight_decay": 0.0}, "scheduler": {"_target_": "energyopt.schedulers.none", "_partial_": true}, "objective": {"_target_": "energyopt.objectives.EnergyVsAccuracy"}, "lr": 0.001, "batch_size": 64, "epochs": 8, "target": 0.9, "seed": 0, "device": "auto", "num_threads": 1, "max_samples": null, "eval_every": null, "patience": 5, "sampler": "random"}, "target": 0.9}');
INSERT INTO public.study_user_attributes VALUES (2, 1, 'energyopt_provenance', '["simulated", "optimizer steps x made-up joules", "nothing real", "made up"]');
INSERT INTO public.study_user_attributes VALUES (3, 1, 'energyopt_plans', '{"reuse": null, "pue": null, "carbon_g_per_kwh": null, "price_per_kwh": null, "currency": "EUR"}');
INSERT INTO public.trial_params VALUES (1, 1, 'lr', 0.001, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 100.0, "log": true}}');
INSERT INTO public.trial_params VALUES (2, 1, 'model.width', 0, '{"name": "CategoricalDistribution", "attributes": {"choices": [8, 12, 13]}}');
INSERT INTO public.trial_params VALUES (3, 1, 'batch_size', 1, '{"name": "CategoricalDistribution", "attributes": {"choices": [8, 32]}}');
INSERT INTO public.trial_params VALUES (4, 2, 'lr', 0.19628224813442816, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 100.0, "log": true}}');
INSERT INTO public.trial_params VALUES (5, 2, 'model.width', 0, '{"name": "CategoricalDistribution", "attributes": {"choices": [8, 12, 13]}}');
INSERT INTO public.trial_params VALUES (6, 2, 'batch_size', 1, '{"name": "CategoricalDistribution", "attributes": {"choices": [8, 32]}}');
INSERT INTO public.trial_params VALUES (7, 3, 'lr', 0.042220489831498315, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 100.0, "log": true}}');
INSERT INTO public.trial_params VALUES (8, 3, 'model.width', 1, '{"name": "CategoricalDistribution", "attributes": {"choices": [8, 12, 13]}}');
INSERT INTO public.trial_params VALUES (9, 3, 'batch_size', 0, '{"name": "CategoricalDistribution", "attributes": {"choices": [8, 32]}}');
INSERT INTO public.trial_params VALUES (10, 4, 'lr', 0.2560161525002872, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 100.0, "log": true}}');
INSERT INTO public.trial_params VALUES (11, 4, 'model.width', 0, '{"name": "CategoricalDistribution", "attributes": {"choices": [8, 12, 13]}}');
INSERT INTO public.trial_params VALUES (12, 4, 'batch_size', 1, '{"name": "CategoricalDistribution", "attributes": {"choices": [8, 32]}}');
INSERT INTO public.trial_params VALUES (13, 5, 'lr', 4.665954567021848, '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 100.0, "log": true}}');
INSERT INTO public.trial_params VALUES (14, 5, 'model.width', 1, '{"name": "CategoricalDistribution", "attributes": {"choices": [8, 12, 13]}}');
INSERT INTO public.trial_params VALUES (15, 5, 'batch_size', 1, '{"name": "CategoricalDistribution", "attributes": {"choices": [8, 32]}}');
INSERT INTO public.trial_system_attributes VALUES (1, 1, 'fixed_params', '{"lr": 0.001, "model.width": 8, "batch_size": 32}');
INSERT INTO public.trial_system_attributes VALUES (2, 1, 'constraints:target_missed_by', '0.2055555555555556');
INSERT INTO public.trial_system_attributes VALUES (3, 2, 'constraints:target_missed_by', '-0.09999999999999998');
INSERT INTO public.trial_system_attributes VALUES (4, 6, 'fixed_params', '{"lr": 4.665954567021848, "model.width": 12, "batch_size": 32}');
INSERT INTO public.trial_user_attributes VALUES (1, 1, 'default_setup', 'true');
INSERT INTO public.trial_user_attributes VALUES (2, 1, 'provenance', '"simulated"');
INSERT INTO public.trial_user_attributes VALUES (3, 1, 'meter', '"optimizer steps x made-up joules"');
INSERT INTO public.trial_user_attributes VALUES (4, 1, 'end', '"epochs"');
INSERT INTO public.trial_user_attributes VALUES (5, 1, 'censored', 'true');
INSERT INTO public.trial_user_attributes VALUES (6, 1, 'best_accuracy', '0.6944444444444444');
INSERT INTO public.trial_user_attributes VALUES (7, 1, 'training_j', '2.9440000000000013');
INSERT INTO public.trial_user_attributes VALUES (8, 1, 'evaluation_j', '0.3200000000000001');
INSERT INTO public.trial_user_attributes VALUES (9, 1, 'spent_j', '3.5300000000000016');
INSERT INTO public.trial_user_attributes VALUES (10, 1, 'curve', '{"epochs": [0.3018867924528302, 0.6037735849056604, 0.9056603773584906, 1.0, 1.3018867924528301, 1.6037735849056605, 1.9056603773584906, 2.0, 2.30188679245283, 2.6037735849056602, 2.9056603773584904, 3.0, 3.30188679245283, 3.6037735849056602, 3.9056603773584904, 4.0, 4.30188679245283, 4.60377358490566, 4.90566037735849, 5.0, 5.30188679245283, 5.60377358490566, 5.90566037735849, 6.0, 6.30188679245283, 6.60377358490566, 6.90566037735849, 7.0, 7.30188679245283, 7.60377358490566, 7.90566037735849, 8.0], "joules": [0.092, 0.184, 0.276, 0.368, 0.45999999999999996, 0.5519999999999999, 0.6439999999999999, 0.7359999999999999, 0.8279999999999998, 0.9199999999999998, 1.0119999999999998, 1.1039999999999999, 1.196, 1.288, 1.3800000000000001, 1.4720000000000002, 1.5640000000000003, 1.6560000000000004, 1.7480000000000004, 1.8400000000000005, 1.9320000000000006, 2.0240000000000005, 2.1160000000000005, 2.2080000000000006, 2.3000000000000007, 2.392000000000001, 2.484000000000001, 2.576000000000001, 2.668000000000001, 2.760000000000001, 2.852000000000001, 2.9440000000000013], "accuracy": [0.4444444444444444, 0.4444444444444444, 0.4722222222222222, 0.4722222222222222, 0.5, 0.5277777777777778, 0.5277777777777778, 0.5277777777777778, 0.5277777777777778, 0.5277777777777778, 0.5277777777777778, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5555555555555556, 0.5833333333333334, 0.6111111111111112, 0.6111111111111112, 0.6111111111111112, 0.6388888888888888, 0.6388888888888888, 0.6388888888888888, 0.6944444444444444, 0.6944444444444444, 0.6944444444444444, 0.6944444444444444, 0.6944444444444444, 0.6944444444444444], "epoch_j": 0.36800000000000016}');
INSERT INTO public.trial_user_attributes VALUES (59, 3, 'energy_to_target_j', '0.24200000000000002');
INSERT INTO public.trial_user_attributes VALUES (60, 3, 'epochs_to_target', '0.3018867924528302');
INSERT INTO public.trial_user_attributes VALUES (61, 3, 'paused', 'true');
INSERT INTO public.trial_user_attributes VALUES (62, 3, 'reason', '"paused after 2 epochs, 1.65 J of training"');
INSERT INTO public.trial_user_attributes VALUES (77, 4, 'provenance', '"simulated"');
INSERT INTO public.trial_user_attributes VALUES (78, 4, 'meter', '"optimizer steps x made-up joules"');
INSERT INTO public.trial_user_attributes VALUES (79, 4, 'end', '"paused"');
INSERT INTO public.trial_user_attributes VALUES (80, 4, 'censored', 'false');
INSERT INTO public.trial_user_attributes VALUES (81, 4, 'best_accuracy', '0.9722222222222222');
INSERT INTO public.trial_user_attributes VALUES (82, 4, 'training_j', '1.034');
INSERT INTO public.trial_user_attributes VALUES (83, 4, 'evaluation_j', '0.05');
INSERT INTO public.trial_user_attributes VALUES (84, 4, 'spent_j', '1.36');
INSERT INTO public.trial_user_attributes VALUES (85, 4, 'curve', '{"epochs": [0.3018867924528302, 0.6037735849056604, 1.0, 2.0, 3.0], "joules": [0.092, 0.184, 0.358, 0.696, 1.034], "accuracy": [0.6944444444444444, 0.9444444444444444, 0.9722222222222222, 0.8888888888888888, 0.9722222222222222], "epoch_j": 0.3446666666666667}');
INSERT INTO public.trial_user_attributes VALUES (23, 2, 'reason', '"paused after 5 epochs, 1.71 J of training"');
INSERT INTO public.trial_user_attributes VALUES (22, 2, 'paused', 'false');
INSERT INTO public.trial_user_attributes VALUES (11, 2, 'provenance', '"simulated"');
INSERT INTO public.trial_user_attributes VALUES (12, 2, 'meter', '"optimizer steps x made-up joules"');
INSERT INTO public.trial_user_attributes VALUES (13, 2, 'end', '"plateau"');
INSERT INTO public.trial_user_attributes VALUES (14, 2, 'censored', 'false');
INSERT INTO public.trial_user_attributes VALUES (15, 2, 'best_accuracy', '1.0');
INSERT INTO public.trial_user_attributes VALUES (16, 2, 'training_j', '2.048');
INSERT INTO public.trial_user_attributes VALUES (17, 2, 'evaluation_j', '0.08');
INSERT INTO public.trial_user_attributes VALUES (18, 2, 'spent_j', '2.966');
INSERT INTO public.trial_user_attributes VALUES (19, 2, 'curve', '{"epochs": [0.3018867924528302, 0.6037735849056604, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "joules": [0.092, 0.184, 0.358, 0.696, 1.034, 1.372, 1.7100000000000002, 2.048], "accuracy": [0.7222222222222222, 0.9444444444444444, 1.0, 0.8888888888888888, 0.9722222222222222, 1.0, 1.0, 1.0], "epoch_j": 0.3413333333333333}');
INSERT INTO public.trial_user_attributes VALUES (20, 2, 'energy_to_target_j', '0.184');
INSERT INTO public.trial_user_attributes VALUES (21, 2, 'epochs_to_target', '0.6037735849056604');
INSERT INTO public.trial_user_attributes VALUES (50, 3, 'provenance', '"simulated"');
INSERT INTO public.trial_user_attributes VALUES (51, 3, 'meter', '"optimizer steps x made-up joules"');
INSERT INTO public.trial_user_attributes VALUES (52, 3, 'end', '"paused"');
INSERT INTO public.trial_user_attributes VALUES (53, 3, 'censored', 'false');
INSERT INTO public.trial_user_attributes VALUES (54, 3, 'best_accuracy', '0.9722222222222222');
INSERT INTO public.trial_user_attributes VALUES (55, 3, 'training_j', '1.6540000000000001');
INSERT INTO public.trial_user_attributes VALUES (56, 3, 'evaluation_j', '0.03');
INSERT INTO public.trial_user_attributes VALUES (57, 3, 'spent_j', '2.102');
INSERT INTO public.trial_user_attributes VALUES (58, 3, 'curve', '{"epochs": [0.3018867924528302, 1.0, 2.0], "joules": [0.24200000000000002, 0.8320000000000001, 1.6540000000000001], "accuracy": [0.9166666666666666, 0.9722222222222222, 0.9166666666666666], "epoch_j": 0.8270000000000001}');
INSERT INTO public.trial_user_attributes VALUES (86, 4, 'energy_to_target_j', '0.184');
INSERT INTO public.trial_user_attributes VALUES (87, 4, 'epochs_to_target', '0.6037735849056604');
INSERT INTO public.trial_user_attributes VALUES (88, 4, 'paused', 'true');
INSERT INTO public.trial_user_attributes VALUES (89, 4, 'reason', '"paused after 3 epochs, 1.03 J of training"');
INSERT INTO public.trial_user_attributes VALUES (90, 6, 'retry_of', '4');
INSERT INTO public.trial_user_attributes VALUES (91, 6, 'deaths', '0');
INSERT INTO public.trial_values VALUES (1, 1, 0, 2.9440000000000013, 'FINITE');
INSERT INTO public.trial_values VALUES (2, 1, 1, 0.6944444444444444, 'FINITE');
INSERT INTO public.trial_values VALUES (3, 2, 0, 0.184, 'FINITE');
INSERT INTO public.trial_values VALUES (4, 2, 1, 1, 'FINITE');
INSERT INTO public.trials VALUES (1, 0, 1, 'COMPLETE', '2026-11-30 11:33:14.120257', '2026-11-30 11:33:16.551587');
INSERT INTO public.trials VALUES (2, 1, 1, 'COMPLETE', '2026-11-30 11:33:16.727837', '2026-11-30 11:33:21.171966');
INSERT INTO public.trials VALUES (3, 2, 1, 'RUNNING', '2026-11-30 11:33:21.31582', NULL);
INSERT INTO public.trials VALUES (4, 3, 1, 'RUNNING', '2026-11-30 11:33:24.796619', NULL);
INSERT INTO public.trials VALUES (5, 4, 1, 'FAIL', '2026-11-30 11:33:26.422187', '2026-11-30 11:33:27.532374');
INSERT INTO public.trials VALUES (6, 5, 1, 'WAITING', NULL, NULL);
INSERT INTO public.version_info VALUES (1, 12, '5.0.0');
SELECT pg_catalog.setval('public.studies_study_id_seq', 1, true);
SELECT pg_catalog.setval('public.study_directions_study_direction_id_seq', 2, true);
SELECT pg_catalog.setval('public.study_system_attributes_study_system_attribute_id_seq', 1, true);
SELECT pg_catalog.setval('public.study_user_attributes_study_user_attribute_id_seq', 3, true);
SELECT pg_catalog.setval('public.trial_heartbeats_trial_heartbeat_id_seq', 1, false);
SELECT pg_catalog.setval('public.trial_intermediate_values_trial_intermediate_value_id_seq', 1, false);
SELECT pg_catalog.setval('public.trial_params_param_id_seq', 15, true);
SELECT pg_catalog.setval('public.trial_system_attributes_trial_system_attribute_id_seq', 4, true);
SELECT pg_catalog.setval('public.trial_user_attributes_trial_user_attribute_id_seq', 91, true);
SELECT pg_catalog.setval('public.trial_values_trial_value_id_seq', 4, true);
SELECT pg_catalog.setval('public.trials_trial_id_seq', 6, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.energyopt_confirmations
    ADD CONSTRAINT energyopt_confirmations_pkey PRIMARY KEY (study_id, number);
ALTER TABLE ONLY public.energyopt_runs
    ADD CONSTRAINT energyopt_runs_pkey PRIMARY KEY (study_id, ordinal);
ALTER TABLE ONLY public.energyopt_trials
    ADD CONSTRAINT energyopt_trials_pkey PRIMARY KEY (study_id, number);
ALTER TABLE ONLY public.studies
    ADD CONSTRAINT studies_pkey PRIMARY KEY (study_id);
ALTER TABLE ONLY public.study_directions
    ADD CONSTRAINT study_directions_pkey PRIMARY KEY (study_direction_id);
ALTER TABLE ONLY public.study_directions
    ADD CONSTRAINT study_directions_study_id_objective_key UNIQUE (study_id, objective);
ALTER TABLE ONLY public.study_system_attributes
    ADD CONSTRAINT study_system_attributes_pkey PRIMARY KEY (study_system_attribute_id);
ALTER TABLE ONLY public.study_system_attributes
    ADD CONSTRAINT study_system_attributes_study_id_key_key UNIQUE (study_id, key);
ALTER TABLE ONLY public.study_user_attributes
    ADD CONSTRAINT study_user_attributes_pkey PRIMARY KEY (study_user_attribute_id);
ALTER TABLE ONLY public.study_user_attributes
    ADD CONSTRAINT study_user_attributes_study_id_key_key UNIQUE (study_id, key);
ALTER TABLE ONLY public.trial_heartbeats
    ADD CONSTRAINT trial_heartbeats_pkey PRIMARY KEY (trial_heartbeat_id);
ALTER TABLE ONLY public.trial_heartbeats
    ADD CONSTRAINT trial_heartbeats_trial_id_key UNIQUE (trial_id);
ALTER TABLE ONLY public.trial_intermediate_values
    ADD CONSTRAINT trial_intermediate_values_pkey PRIMARY KEY (trial_intermediate_value_id);
ALTER TABLE ONLY public.trial_intermediate_values
    ADD CONSTRAINT trial_intermediate_values_trial_id_step_key UNIQUE (trial_id, step);
ALTER TABLE ONLY public.trial_params
    ADD CONSTRAINT trial_params_pkey PRIMARY KEY (param_id);
ALTER TABLE ONLY public.trial_params
    ADD CONSTRAINT trial_params_trial_id_param_name_key UNIQUE (trial_id, param_name);
ALTER TABLE ONLY public.trial_system_attributes
    ADD CONSTRAINT trial_system_attributes_pkey PRIMARY KEY (trial_system_attribute_id);
ALTER TABLE ONLY public.trial_system_attributes
    ADD CONSTRAINT trial_system_attributes_trial_id_key_key UNIQUE (trial_id, key);
ALTER TABLE ONLY public.trial_user_attributes
    ADD CONSTRAINT trial_user_attributes_pkey PRIMARY KEY (trial_user_attribute_id);
ALTER TABLE ONLY public.trial_user_attributes
    ADD CONSTRAINT trial_user_attributes_trial_id_key_key UNIQUE (trial_id, key);
ALTER TABLE ONLY public.trial_values
    ADD CONSTRAINT trial_values_pkey PRIMARY KEY (trial_value_id);
ALTER TABLE ONLY public.trial_values
    ADD CONSTRAINT trial_values_trial_id_objective_key UNIQUE (trial_id, objective);
ALTER TABLE ONLY public.trials
    ADD CONSTRAINT trials_pkey PRIMARY KEY (trial_id);
ALTER TABLE ONLY public.version_info
    ADD CONSTRAINT version_info_pkey PRIMARY KEY (version_info_id);
CREATE INDEX energyopt_trials_lost ON public.energyopt_trials USING btree (study_id, lost, number);
CREATE INDEX energyopt_trials_paused ON public.energyopt_trials USING btree (study_id, paused, number);
CREATE UNIQUE INDEX ix_studies_study_name ON public.studies USING btree (study_name);
CREATE INDEX ix_trials_study_id ON public.trials USING btree (study_id);
ALTER TABLE ONLY public.study_directions
    ADD CONSTRAINT study_directions_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
ALTER TABLE ONLY public.study_system_attributes
    ADD CONSTRAINT study_system_attributes_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
ALTER TABLE ONLY public.study_user_attributes
    ADD CONSTRAINT study_user_attributes_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
ALTER TABLE ONLY public.trial_heartbeats
    ADD CONSTRAINT trial_heartbeats_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_intermediate_values
    ADD CONSTRAINT trial_intermediate_values_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_params
    ADD CONSTRAINT trial_params_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_system_attributes
    ADD CONSTRAINT trial_system_attributes_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_user_attributes
    ADD CONSTRAINT trial_user_attributes_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trial_values
    ADD CONSTRAINT trial_values_trial_id_fkey FOREIGN KEY (trial_id) REFERENCES public.trials(trial_id);
ALTER TABLE ONLY public.trials
    ADD CONSTRAINT trials_study_id_fkey FOREIGN KEY (study_id) REFERENCES public.studies(study_id);
